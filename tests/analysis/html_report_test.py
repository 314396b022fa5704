import html.parser
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import crnn_jax
from crnn_jax.cli import main
from crnn_jax.runs.run_dir import Answer


class _Checker(html.parser.HTMLParser):
    """Checks that every tag is closed, in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Any] = []
        self.images: list[Any] = []
        self.spans: list[Any] = []

    def handle_starttag(self, tag: Any, attributes: Any) -> None:
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        if tag == "span":
            self.spans.append(values["style"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag


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


def test_the_page_is_whole_and_holds_all_that_it_needs(
    page: tuple[Path, str, list[Answer]],
) -> None:
    run, text, _ = page
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    assert "run &lt;1&gt;" in text
    assert all(image["src"].startswith("data:image/png;base64,") for image in checker.images)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
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
    checker = _Checker()
    checker.feed(text)
    shown = [*wrong, *right[:: -(-len(right) // 12)]]
    assert len(checker.images) == len(shown) + 3
    # One span per character of a reading.
    assert len(checker.spans) == sum(len(answer.reading) for answer in shown)
    for span in checker.spans:
        left, width = (float(number) for number in re.findall(r"([\d.]+)%", span))
        assert 0 <= left < left + width <= 100.1


def test_the_page_counts_characters_by_their_place(page: tuple[Path, str, list[Answer]]) -> None:
    _, text, answers = page
    hits = sum(answer.truth[0] == answer.reading[:1] for answer in answers)
    row = f'<td>character 1</td><td class="n">{hits}</td><td class="n">40</td>'
    assert row in text
    longest = [answer for answer in answers if len(answer.truth) >= 4]
    hits = sum(answer.truth[3] == answer.reading[3:4] for answer in longest)
    row = f'<td>character 4</td><td class="n">{hits}</td><td class="n">{len(longest)}</td>'
    assert row in text


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
