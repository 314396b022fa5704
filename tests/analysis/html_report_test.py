import base64
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.analysis import html_report
from crnn_jax.cli import main
from crnn_jax.runs.result import Answer
from tests.helpers.browser import CHROMIUM, Browser, browser
from tests.helpers.images import draw
from tests.helpers.pages import Element, parse, values_at


@pytest.fixture(scope="module")
def page(
    trained: Path, captchas: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, list[Answer]]:
    """The page of a run on the whole data set, with three wrong labels, and its answers."""
    folder = tmp_path_factory.mktemp("page")
    run, data = folder / "run <1>", folder / "data"
    shutil.copytree(trained, run)
    shutil.copytree(captchas, data)
    for path in sorted(data.iterdir())[:3]:
        path.rename(path.with_stem(path.stem + "a_wrong"))
    assert main.main(["report", str(run), "--data", str(data)]) == 0
    answers = crnn_jax.load(run).evaluate(data).evaluation.answers
    return run, (run / "report.html").read_text(), answers


def _section(text: str, name: str) -> Element:
    (found,) = (s for s in parse(text).all("section") if s.attributes.get("id") == name)
    return found


def test_the_page_is_whole_and_holds_all_that_it_needs(
    page: tuple[Path, str, list[Answer]],
) -> None:
    run, text, _ = page
    assert "run &lt;1&gt;" in text
    images = parse(text).all("img")
    assert all(str(i.attributes["src"]).startswith("data:image/png;base64,") for i in images)
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    for name in ("curves.png", "confusion.png", "reliability.png"):
        with Image.open(run / name) as image:
            assert image.width > 300


def test_the_page_shows_every_misread_image_with_its_alignment(
    page: tuple[Path, str, list[Answer]],
) -> None:
    _, text, answers = page
    wrong = [a for a in answers if a.reading != a.truth]
    right = [a for a in answers if a.reading == a.truth]
    assert 3 <= len(wrong) < 40
    assert f"Misread: {len(wrong)} of 40" in text
    for answer in wrong:
        assert f'alt="{answer.file}"' in text
        assert f"{answer.truth} read as {answer.reading or 'nothing'}, confidence" in text
    shown = [*wrong, *right[:: -(-len(right) // 12)]]
    assert len(parse(text).all("img")) == len(shown)
    # One span per character of a reading.
    spans = [span for place in parse(text).all("div", "spans") for span in place.children]
    assert len(spans) == sum(len(answer.reading) for answer in shown)
    for span in spans:
        found = re.findall(r"([\d.]+)%", str(span.attributes["style"]))
        left, width = (float(number) for number in found)
        assert 0 <= left < left + width <= 100.1


def test_the_page_counts_characters_by_their_place(page: tuple[Path, str, list[Answer]]) -> None:
    _, text, answers = page
    hits = sum(answer.truth[0] == answer.reading[:1] for answer in answers)
    rows = [[cell.text for cell in row.all("td")] for row in _section(text, "places").all("tr")]
    assert ["character 1", f"{hits}", "40", f"{hits / 40:.2%}"] in rows
    longest = [answer for answer in answers if len(answer.truth) >= 4]
    hits = sum(answer.truth[3] == answer.reading[3:4] for answer in longest)
    assert ["character 4", f"{hits}", f"{len(longest)}"] in [row[:3] for row in rows]


def test_misreads_have_the_pairs_and_confidences_of_the_filter() -> None:
    answers = [
        Answer("a", "abc", "xbz", 0.5, 1.0), Answer("b", "aac", "xxc", 0.75, 1.0),
        Answer("c", "ab", "a", 0.25, 1.0), Answer("d", "1a", "1x", 0.125, 1.0),
    ]  # fmt: skip
    listed = html_report._misreads(answers, list)
    assert [answer.file for answer in listed.answers] == ["b", "a", "c", "d"]
    # Three images have x for a, although one of them twice.
    assert listed.options[0] == ("a read as x", 3)
    assert set(listed.options[1:]) == {("c read as z", 1), ("b read as (nothing)", 1)}
    named = [{listed.options[int(n)][0] for n in pairs.split()} for pairs in listed.pairs]
    assert named == [
        {"a read as x"}, {"a read as x", "c read as z"}, {"b read as (nothing)"}, {"a read as x"},
    ]  # fmt: skip


def test_the_charts_have_the_numbers_of_the_record(page: tuple[Path, str, list[Answer]]) -> None:
    run, text, answers = page
    loss, exact = _section(text, "curves").all("svg", "chart")
    assert [t.text for t in loss.all("text", "axis")] == ["epoch", "CTC loss, nats per image"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = [100 * line["exact_match"] for line in lines if "val_loss" in line]
    (line,) = exact.all("polyline")
    ys = [float(point.split(",")[1]) for point in str(line.attributes["points"]).split()]
    assert values_at(exact, "y", ys) == pytest.approx(expected, abs=0.08)
    (chart,) = _section(text, "confidence").all("svg", "chart")
    assert [t.text for t in chart.all("text", "axis")] == [
        "mean confidence of a bin, %", "right, %",
    ]  # fmt: skip
    counts = Counter(min(int(10 * answer.confidence), 9) for answer in answers)
    assert sorted(int(label.text) for label in chart.all("text", "numbers")) == sorted(
        counts.values()
    )
    matrix = _section(text, "confusions").all("svg", "matrix")[0]
    by_truth: Counter[str] = Counter()
    for group in matrix.all("g"):
        pair, _, count = group.all("title")[0].text.rpartition(": ")
        by_truth[pair.split(" read as ")[0]] += int(count)
    del by_truth["none"]
    # However truth and reading are aligned, each symbol of the truth is in one cell.
    assert by_truth == Counter("".join(answer.truth for answer in answers))


def _node(program: str) -> Any:
    """The JSON that a program prints after the script of the page."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    script = (Path(html_report.__file__).parent / "templates" / "page.js").read_text()
    source = f"{script}\nconsole.log(JSON.stringify({program}));"
    done = subprocess.run([node, "-"], input=source, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_rows_are_sorted_as_numbers_or_texts() -> None:
    tables = [["10", "9.5", "-", "-2", "9.5"], ["b10", "B9", "", "a"]]
    calls = [f"sortedOrder({json.dumps(keys)}, {way})" for keys in tables for way in ("0", "1")]
    found = _node(f"[{', '.join(calls)}]")
    # Equal rows keep their order, and cells without a value are last in both directions.
    assert found == [[3, 1, 4, 0, 2], [0, 1, 4, 3, 2], [3, 1, 0, 2], [0, 1, 3, 2]]


def test_the_filter_includes_its_limits() -> None:
    items = [("29.0", "0 10"), ("29.1", "1"), ("100.0", "10")]
    values = [{"confidence": c, "pairs": p} for c, p in items]
    filters = [(29, 29, ""), (29.05, 100, ""), (0, 100, "10"), (0, 100, "0"), (50, 99, "10")]
    program = (
        f"{json.dumps(filters)}.map(([least, most, pair]) => {json.dumps(values)}"
        ".map((item) => passes(item, { least, most, pair })))"
    )
    assert _node(program) == [
        [True, False, False], [False, True, True], [True, False, True], [True, False, False],
        [False, False, False],
    ]  # fmt: skip


ROWS = """[...document.querySelectorAll('#misread tbody tr')].filter((row) => !row.hidden)
    .map((row) => row.cells[0].textContent)"""
IMAGES = """[...document.querySelectorAll('#misread figure')].filter((one) => !one.hidden)
    .map((one) => one.querySelector('img').alt)"""


def _press(chromium: Browser, key: str, code: int, text: str = "") -> None:
    values = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    shown = {"text": text} if text else {}
    chromium.call("Input.dispatchKeyEvent", type="keyDown", **shown, **values)
    chromium.call("Input.dispatchKeyEvent", type="keyUp", **values)


def test_misreads_are_filtered_and_sorted_by_keyboard(
    page: tuple[Path, str, list[Answer]], tmp_path: Path
) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    run, _, answers = page
    wrong = sorted((a for a in answers if a.reading != a.truth), key=lambda a: -a.confidence)
    percents = [round(100 * a.confidence, 1) for a in wrong]
    least = percents[len(percents) // 2]
    with browser(tmp_path) as chromium:
        chromium.open((run / "report.html").as_uri())
        assert chromium.evaluate(ROWS) == [a.file for a in wrong]
        for _ in range(7 + 1):  # the links to the sections, and the first field of the filter
            _press(chromium, "Tab", 9)
        assert chromium.evaluate("document.activeElement.name") == "least"
        assert chromium.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        chromium.call("Input.insertText", text=str(least))
        kept = [a.file for a, percent in zip(wrong, percents, strict=True) if percent >= least]
        assert chromium.evaluate(ROWS) == chromium.evaluate(IMAGES) == kept
        said = chromium.evaluate("document.querySelector('output').textContent")
        assert said == f"{len(kept)} of {len(wrong)} shown"
        for _ in range(2):
            _press(chromium, "Tab", 9)
        assert chromium.evaluate("document.activeElement.name") == "pair"
        _press(chromium, "Tab", 9)
        _press(chromium, "Enter", 13, "\r")  # Reset
        chromium.evaluate("new Promise((done) => setTimeout(done))")
        assert chromium.evaluate(ROWS) == [a.file for a in wrong]
        # The head of the column of confidences: up, then down.
        chromium.evaluate("document.querySelectorAll('#misread th button')[3].focus()")
        by_confidence = sorted(wrong, key=lambda answer: answer.confidence)
        for way in ("ascending", "descending"):
            _press(chromium, "Enter", 13, "\r")
            sort = "document.querySelectorAll('#misread th')[3].getAttribute('aria-sort')"
            assert chromium.evaluate(sort) == way
            assert chromium.evaluate(ROWS) == [answer.file for answer in by_confidence]
            by_confidence.reverse()


def test_large_images_and_animations_are_shown_small_and_as_they_are_read(
    trained: Path, tmp_path: Path
) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained, run)
    data.mkdir()
    last = draw("cc").resize((2048, 512))
    draw("ab7").resize(last.size).save(data / "cc.gif", save_all=True, append_images=[last])
    text = html_report.write(run, data, "last").read_text()
    (image,) = parse(text).all("img")
    content = base64.b64decode(str(image.attributes["src"]).partition(",")[2])
    with Image.open(io.BytesIO(content)) as shown:
        assert shown.size == (1024, 256)
        # Half of the size, with the ink of the last frame, up to the rounding of a mean.
        expected = np.asarray(last, int).reshape(256, 2, 1024, 2).mean((1, 3))
        assert np.abs(np.asarray(shown.convert("L"), int) - expected).mean() < 3


def test_a_page_of_the_validation_part_needs_the_run_s_data(
    page: tuple[Path, str, list[Answer]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, *_ = page
    shutil.copytree(run, tmp_path / "run")
    assert main.main(["report", str(tmp_path / "run")]) == 0
    assert "the validation part, which" in (tmp_path / "run" / "report.html").read_text()
    config = (tmp_path / "run" / "config.json").read_text()
    moved = re.sub(r'"dir": "[^"]*"', '"dir": "/nowhere"', config)
    (tmp_path / "run" / "config.json").write_text(moved)
    capsys.readouterr()
    assert main.main(["report", str(tmp_path / "run")]) == 2
    assert "no folder /nowhere" in capsys.readouterr().err
