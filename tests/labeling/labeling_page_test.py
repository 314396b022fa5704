"""The page in headless Chromium, by keyboard, as a person uses it."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.labeling.adapting import Status
from tests.helpers.browser import CHROMIUM, Browser, browser
from tests.helpers.images import draw
from tests.helpers.labeling import GivenReader, NoAdapter, Served, served

pytest.importorskip("uvicorn")
TEXTS = [f"{a}{b}{c}" for a in "47" for b in "abc" for c in "xyz"]
KEYS = {"Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "z": ("KeyZ", 90, "z")}
IMAGE = """new Promise((done) => {
    const wait = () => state && state.image && !busy && document.querySelector('#stage img')
        && shown === state.image.number && seen === shown
        && CONDITION ? done(state.image) : setTimeout(wait, 10);
    wait();
})"""


@pytest.fixture
def adapter() -> NoAdapter:
    return NoAdapter()


@pytest.fixture
def page(tmp_path: Path, adapter: NoAdapter) -> Iterator[Served]:
    for text in TEXTS:
        draw(text).save(tmp_path / f"img_{text}.png")
    readings = {f"img_{text}.png": (text, 0.5 + 0.02 * n) for n, text in enumerate(TEXTS)}
    del readings[f"img_{TEXTS[3]}.png"]  # cannot be opened
    with served(tmp_path, readings, adapter) as page:
        yield page


def press(chromium: Browser, key: str, shift: bool = False, ctrl: bool = False) -> None:
    code, number, text = KEYS[key]
    options = {"key": key, "code": code, "windowsVirtualKeyCode": number}
    modifiers = 8 * shift + 2 * ctrl
    shown = {} if ctrl or not text else {"text": text}
    chromium.call("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **shown, **options)
    chromium.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **options)


def image(chromium: Browser, condition: str = "true") -> Any:
    """The image that is shown, once `condition` holds."""
    return chromium.evaluate(IMAGE.replace("CONDITION", condition))


def after(chromium: Browser, number: int) -> Any:
    """The image that is shown after the image `number`."""
    return image(chromium, f"shown !== {number}")


FIELD = """(() => {
    const { value, selectionStart, selectionEnd } = document.activeElement;
    return [document.activeElement.id, value, value.slice(selectionStart, selectionEnd)];
})()"""


def field(chromium: Browser) -> tuple[str, str]:
    """The text in the field, which has the focus, and the selected part of it."""
    name, value, selected = chromium.evaluate(FIELD)
    assert name == "text"
    return value, selected


def said(chromium: Browser) -> Any:
    return chromium.evaluate("document.getElementById('said').textContent")


def saved(page: Served) -> dict[str, str]:
    with (page.desk.session.folder / "labels.csv").open(newline="") as file:
        return {row["file"]: row["label"] for row in csv.DictReader(file)}


def test_a_folder_is_labeled_by_keyboard(page: Served, adapter: NoAdapter, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with browser(tmp_path.parent / "profile") as chromium:
        chromium.open(page.url)
        # The guess is filled in and selected. Enter accepts it.
        first = image(chromium)
        assert field(chromium) == (first["guess"], first["guess"])
        press(chromium, "Enter")
        second = after(chromium, first["number"])
        assert saved(page) == {first["file"]: first["guess"]}
        assert said(chromium) == f"Saved {first['guess']}."
        # Typing replaces the guess; Escape restores it.
        chromium.call("Input.insertText", text="qq")
        assert field(chromium)[0] == "qq"
        press(chromium, "Escape")
        assert field(chromium) == (second["guess"], second["guess"])
        chromium.call("Input.insertText", text="7zz")
        press(chromium, "Enter")
        third = after(chromium, second["number"])
        assert saved(page)[second["file"]] == "7zz"
        # Escape takes the entry back and fills in what was entered.
        press(chromium, "Escape")
        assert after(chromium, third["number"])["number"] == second["number"]
        assert field(chromium) == ("7zz", "7zz")
        assert second["file"] not in saved(page)
        press(chromium, "Enter")
        after(chromium, second["number"])
        # Ctrl+Z, too.
        press(chromium, "z", ctrl=True)
        after(chromium, third["number"])
        assert second["file"] not in saved(page)
        press(chromium, "Enter")
        assert after(chromium, second["number"])["number"] == third["number"]
        # Shift+Enter skips.
        press(chromium, "Enter", shift=True)
        current = after(chromium, third["number"])
        assert third["file"] not in saved(page)
        for _ in range(4):
            press(chromium, "Enter")
            current = after(chromium, current["number"])
        # A label of another length has to be entered twice.
        chromium.call("Input.insertText", text="7z")
        press(chromium, "Enter")
        image(chromium, "document.getElementById('said').className === 'question'")
        assert "this one has 2. Press Enter again" in said(chromium)
        assert current["file"] not in saved(page)
        press(chromium, "Enter")
        last = after(chromium, current["number"])
        assert saved(page)[current["file"]] == "7z"
        # The characters of the guess, and which of them are uncertain.
        image(chromium, "document.querySelectorAll('#characters li').length === 3")
        shares = chromium.evaluate(
            "[...document.querySelectorAll('#characters li')].map((l) => l.ariaLabel)"
        )
        assert shares == [
            f"{symbol}, {round(100 * last['confidence'])}\u00a0%, uncertain"
            for symbol in last["guess"]
        ]
        # The estimate: the draws are the fourth and the eighth entry.
        estimate = chromium.evaluate("document.getElementById('sample').textContent")
        drawn = sum(entry.drawn for entry in page.desk.session.entries())
        assert drawn == 2
        assert f"right in {page.desk.session.estimates()['given'].right} of 2" in estimate
        assert "1 cannot be opened" in chromium.evaluate(
            "document.getElementById('count').textContent"
        )
        # A failed adaptation is shown; a new reader changes the guesses of the images to come.
        adapter.status = Status("failed", 7, "the disk is full")
        image(chromium, "document.getElementById('reader').textContent.includes('disk is full')")
        better = {f"img_{text}.png": (f"{text}!", 0.99) for text in TEXTS}
        adapter.new.append(("better", GivenReader(better)))
        page.desk.reading.wake()
        image(
            chromium,
            "state.progress.read === state.progress.rest && state.estimate.reader === 'better'",
        )
        press(chromium, "Enter")
        assert after(chromium, last["number"])["guess"].endswith("!")


def test_the_page_fits_narrow_screens_and_says_when_the_command_has_ended(
    page: Served, tmp_path: Path
) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with browser(tmp_path.parent / "profile") as chromium:
        chromium.open(page.url)
        image(chromium)
        for width in (375, 768, 1440):
            chromium.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=800, deviceScaleFactor=1, mobile=False,
            )  # fmt: skip
            assert chromium.evaluate("document.documentElement.scrollWidth <= innerWidth")
        chromium.evaluate("window.fetch = () => Promise.reject(new Error('gone')), 0")
        image(chromium, "document.getElementById('said').className === 'error'")
        assert "The command has ended" in said(chromium)
