"""The command `predict`: what it accepts, and what it prints."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crnn_jax.runtime import terminal
from tests.helpers.command_line import ROOT, call
from tests.helpers.images import draw


def test_predict_prints_files_folders_and_a_list_in_the_order_given(
    trained: Path,
    captchas: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = sorted(map(str, captchas.iterdir()))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{paths[5]}\n\n{paths[4]}\n"))
    status, out, _ = call(capsys, "predict", trained, paths[7], captchas, "-", "--format", "csv")
    assert status == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["path", "text", "confidence", "answered"]
    assert [row[0] for row in rows[1:]] == [paths[7], *paths, paths[5], paths[4]]
    assert all(0 <= float(row[2]) <= 1 for row in rows[1:])


def test_predict_formats_agree(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(map(str, captchas.iterdir()))[:3]
    outs = {
        form: call(capsys, "predict", trained, *paths, "--format", form)[1]
        for form in ("text", "json", "csv")
    }
    from_json = json.loads(outs["json"])
    assert [row["path"] for row in from_json] == paths
    texts = [row["text"] for row in from_json]
    assert [line.split("\t")[1] for line in outs["text"].splitlines()] == texts
    assert [row["text"] for row in csv.DictReader(io.StringIO(outs["csv"]))] == texts


def test_predict_goes_on_after_a_file_that_cannot_be_read(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = sorted(map(str, captchas.iterdir()))[:2]
    (tmp_path / "bad.png").write_text("no")
    (tmp_path / "none").mkdir()
    arguments = [good[0], tmp_path / "bad.png", tmp_path / "none", "/nowhere.png", good[1]]
    status, out, err = call(capsys, "predict", trained, *arguments, "--format", "json")
    assert status == 1
    assert [row["path"] for row in json.loads(out)] == good
    assert [line.split(": ")[1] for line in err.splitlines()] == list(map(str, arguments[1:4]))
    assert err.splitlines()[1].endswith(
        ": the folder contains no images (.bmp, .gif, .jfif, .jpeg, .jpg, .png, .tif, .tiff, .webp)"
    )


def test_predict_uses_those_of_the_allowed_symbols_that_the_run_knows(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("predict", trained, captchas, "--allowed")
    _, expected, silent = call(capsys, *arguments, "7")
    status, out, err = call(capsys, *arguments, "0123456789")
    assert (status, out, silent) == (0, expected, "")
    assert err == ("note: the alphabet has no '012345689'; the other allowed symbols are used\n")
    status, out, err = call(capsys, *arguments, "XYZ")
    assert (status, out) == (2, "")
    assert "the alphabet has no 'XYZ'" in err


@pytest.mark.parametrize("more", [[], ["--same-scheme"]])
def test_a_group_that_merges_nothing_is_a_note(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    flags = ["--length", "3", *more]
    _, expected, err = call(capsys, "predict", trained, captchas, *flags)
    status, out, merged = call(capsys, "predict", trained, captchas, *flags, "--merge", "0O,1a")
    assert (status, out) == (0, expected)
    note = (
        "note: `merge`: these groups have no effect, because the alphabet has fewer than two of "
        "their symbols: '0O', '1a'"
    )
    assert merged == f"{note}\n{err}"


def test_a_list_from_a_closed_input_is_an_error(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_closed", {"stdin"})
    status, out, err = call(capsys, "predict", trained, "-")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "standard input is closed" in err


@pytest.mark.parametrize("name", ["-ab7.png", "--ab7.png", "-h.png", "--epoch.png", "-"])
def test_names_that_begin_with_a_minus_are_paths(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("x.png\n"))
    for file in {name, "x.png"}:
        draw("ab7").save(tmp_path / file, "PNG")
    status, out, _ = call(capsys, "predict", trained, name, "x.png", "--format", "json")
    assert status == 0
    # A minus alone still means the list on the standard input.
    first = "x.png" if name == "-" else os.path.join(".", name)
    assert [row["path"] for row in json.loads(out)] == [first, "x.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO("x.png\n"))
    status, out, _ = call(capsys, "predict", "--format", "csv", trained, "--", name, "x.png")
    assert status == 0
    assert len(out.splitlines()) == 3


def test_predict_reads_the_frame_of_the_user_s_choice(
    trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pictures = [draw("ab7"), draw("cc")]
    path = tmp_path / "x.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    for frame, picture in (("first", pictures[0]), ("last", pictures[1])):
        picture.save(tmp_path / "x.png")
        _, expected, _ = call(capsys, "predict", trained, tmp_path / "x.png")
        status, out, _ = call(capsys, "predict", trained, path, "--frame", frame)
        assert status == 0
        assert out.split("\t")[1] == expected.split("\t")[1]
    status, _, err = call(capsys, "predict", trained, path)
    assert status == 1
    assert "--frame" in err
    assert len(err.splitlines()) == 1


def test_predict_of_nothing_readable_is_still_whole_json(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(capsys, "predict", trained, "/nowhere.png", "--format", "json")
    assert (status, json.loads(out)) == (1, [])


def test_predict_explains_each_character_in_json(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted(captchas.iterdir())[0]
    _, out, _ = call(capsys, "predict", trained, path, "--format", "json", "--explain")
    (row,) = json.loads(out)
    assert "".join(character["symbol"] for character in row["characters"]) == row["text"]
    assert set(row["characters"][0]) == {"symbol", "probability", "left", "right"}
    assert row["text"] in [other["text"] for other in row["alternatives"]]
    wish = ["--min-confidence", "1", "--format", "json", "--explain"]
    (blank,) = json.loads(call(capsys, "predict", trained, path, *wish)[1])
    assert (blank["text"], blank["answered"], blank["characters"]) == ("", False, [])
    assert blank["alternatives"] == []
    status, _, err = call(capsys, "predict", trained, path, "--explain")
    assert (status, err) == (2, "error: --explain needs --format json\n")


def test_readings_of_little_confidence_are_left_blank_and_flagged(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = call(capsys, "predict", trained, captchas, "--format", "json")
    rows = json.loads(out)
    middle = sorted(row["confidence"] for row in rows)[20]
    wish = ["--min-confidence", middle]
    for form in ("json", "csv", "text"):
        status, out, _ = call(capsys, "predict", trained, captchas, "--format", form, *wish)
        assert status == 0
        if form == "json":
            for old, new in zip(rows, json.loads(out), strict=True):
                answered = old["confidence"] >= middle
                assert new == {**old, "text": old["text"] if answered else "", "answered": answered}
        elif form == "csv":
            flags = [(row["text"], row["answered"]) for row in csv.DictReader(io.StringIO(out))]
            assert [flag for _, flag in flags].count("true") == 20
            assert {text for text, flag in flags if flag == "false"} == {""}
        else:
            assert [line.endswith("\tunanswered") for line in out.splitlines()].count(True) == 20


def test_output_cut_off_by_its_reader_is_no_traceback(trained: Path, captchas: Path) -> None:
    command = (
        f"{sys.executable} -m crnn_jax predict {trained} {captchas} | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_paths_are_read_as_they_arrive(trained: Path, captchas: Path) -> None:
    """The second path is written when the reading of the first has arrived."""
    paths = sorted(map(str, captchas.iterdir()))[:2]
    command = [sys.executable, "-m", "crnn_jax", "predict", os.fspath(trained), "-"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for path in paths:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            assert process.stdout.readline().startswith(f"{path}\t")
        process.stdin.write(f"\n{paths[0]}")  # without a line end
        process.stdin.close()
        assert process.stdout.read().startswith(f"{paths[0]}\t")
        assert process.stderr.read() == ""
    assert process.returncode == 0
