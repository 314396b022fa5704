import html.parser
import re
import shutil

import pytest
from PIL import Image

from crnn_jax import __main__
from crnn_jax.record import Record


class _Checker(html.parser.HTMLParser):
    """Every tag that is opened is closed, in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.images, self.spans = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        if tag == "span":
            self.spans.append(values["style"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    run = tmp_path_factory.mktemp("page") / "run <1>"
    shutil.copytree(trained, run)
    assert __main__.main(["report", str(run)]) == 0
    return run, (run / "report.html").read_text()


def test_the_page_is_whole_and_holds_all_that_it_needs(page):
    run, text = page
    checker = _Checker()
    checker.feed(text)
    assert checker.open == ["html"]  # whose end may be left out
    assert "run &lt;1&gt;" in text
    assert all(image["src"].startswith("data:image/png;base64,") for image in checker.images)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    for name in ("curves.png", "confusion.png", "reliability.png"):
        with Image.open(run / name) as image:
            assert image.width > 300


def test_the_page_shows_every_misread_picture_with_its_alignment(page):
    run, text = page
    answers = Record(run).read_csv("readings.csv", ["file", "truth", "reading"])
    wrong = [row for row in answers if row["truth"] != row["reading"]]
    right = [row for row in answers if row["truth"] == row["reading"]]
    assert wrong
    assert f"Misread: {len(wrong)} of {len(answers)}" in text
    for row in wrong:
        assert f'alt="{row["file"]}"' in text
        assert f"{row['truth']} read as {row['reading'] or 'nothing'}, confidence" in text
    checker = _Checker()
    checker.feed(text)
    # One mark for each character that is read in the pictures shown, these being few.
    assert len(answers) <= 12
    assert len(checker.spans) == sum(len(row["reading"]) for row in [*wrong, *right])
    for span in checker.spans:
        left, width = (float(number) for number in re.findall(r"([\d.]+)%", span))
        assert 0 <= left < left + width <= 100.1


def test_the_page_counts_characters_by_their_place(page):
    run, text = page
    answers = Record(run).read_csv("readings.csv", ["truth", "reading"])
    hits = sum(row["truth"][0] == row["reading"][:1] for row in answers)
    row = f'<td>character 1</td><td class="n">{hits}</td><td class="n">{len(answers)}</td>'
    assert row in text


def test_a_page_needs_the_data_that_the_run_was_trained_on(page, tmp_path, capsys):
    run, _ = page
    shutil.copytree(run, tmp_path / "run")
    config = (tmp_path / "run" / "config.json").read_text()
    moved = re.sub(r'"dir": "[^"]*"', '"dir": "/nowhere"', config)
    (tmp_path / "run" / "config.json").write_text(moved)
    assert __main__.main(["report", str(tmp_path / "run")]) == 2
    assert "no folder /nowhere" in capsys.readouterr().err
