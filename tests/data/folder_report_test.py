"""What `inspect` says about a folder. Its output for a good folder is in the docs' examples."""

from pathlib import Path

import pytest

from tests.helpers.command_line import call
from tests.helpers.images import draw


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("file,label\n0.png,\n", r"0.png: its label is empty (line 2 of labels.csv)"),
        ('file,label\n0.png,"a\nb"\n', "0.png: its label 'a\\nb' has line breaks or control"),
        ("", "_1.png: its label is empty, because its name begins with an underscore; to use the"),
        ("id,label\n0007,ab\n", "0007: there is no such file; there is 7.png (line 2 of"),
    ],
)
def test_labels_that_training_refuses_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], labels: str, reason: str
) -> None:
    image = "7.png" if "0007" in labels else "0.png"
    draw("1").save(tmp_path / (image if labels else "_1.png"))
    if labels:
        (tmp_path / "labels.csv").write_text(labels)
    status, output, error = call(capsys, "inspect", tmp_path)
    assert (status, output) == (2, "")
    assert reason in error


def test_labels_of_any_length_are_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model that will read them is not known."""
    for text in ("a" * 100, "b" * 100):
        draw("1").save(tmp_path / f"{text}.png")
    status, output, _ = call(capsys, "inspect", tmp_path)
    assert status == 0
    assert output.startswith("2 images\n")
