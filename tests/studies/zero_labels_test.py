"""A reader on a scheme that it was not trained on, counted by hand from its predictions."""

import json
from pathlib import Path

import numpy as np
import pytest

import crnn_jax
from crnn_jax.analysis import scheme_report
from crnn_jax.data import splits
from crnn_jax.inference import metrics
from studies import zero_labels
from tests.helpers.images import draw


@pytest.mark.long
def test_the_test_part_of_each_folder_is_read_and_counted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(5)
    texts = sorted({"".join(rng.choice(list("abc7"), 3)) for _ in range(60)})
    (tmp_path / "upper").mkdir()
    for text in texts:  # labeled in capitals, which are not in the alphabet of the reader
        draw(text).save(tmp_path / "upper" / f"{text.upper()}.png")
    out = tmp_path / "out" / "zero_labels.json"
    zero_labels.main([str(trained), f"{tmp_path}/upper/", "--out", str(out)])

    texts = sorted(text.upper() for text in texts)  # the order of the files
    test = [texts[i] for i in splits.held_out(texts, 500)]
    assert len(test) == len(texts) // 3
    reader = crnn_jax.load(trained)
    paths = [tmp_path / "upper" / f"{text}.png" for text in test]
    readings = [reading.text for reading in reader.predict(paths)]
    labeled = sum(text == reading for text, reading in zip(test, readings, strict=True))
    folded = sum(text.lower() == reading for text, reading in zip(test, readings, strict=True))
    decoder = reader.decoder(length=3, allowed="7abc")
    given = [reading.text for reading in reader.predict(paths, decoder)]
    found = [reading.text for reading in reader.predict(paths, reader.form_of(paths))]
    form_found = sum(text.lower() == reading for text, reading in zip(test, found, strict=True))
    form_given = sum(text.lower() == reading for text, reading in zip(test, given, strict=True))

    record = json.loads(out.read_text())
    scheme = record["schemes"]["upper"]
    assert {way: match["num_exact"] for way, match in scheme["scores"].items()} == {
        "labeled": labeled, "case_folded": folded, "merged": folded,
        "form_found": form_found, "form_given": form_given,
    }  # fmt: skip
    assert folded > labeled  # texts of digits have no case
    assert scheme["num_examples"] == len(test)
    assert scheme["scores"]["case_folded"]["exact_match_95"] == list(
        metrics.wilson_interval(folded, len(test))
    )
    assert scheme["form"] == {"alphabet": "7ABC", "lengths": [3, 3], "allowed": "7abc"}
    result = json.loads((trained / "result.json").read_text())
    assert record["reader"]["params_sha256"] == result["params_sha256"]
    assert record["command"][1] == str(trained)
    assert f"| upper | {len(test)} | {labeled / len(test):.1%} [" in capsys.readouterr().out
    rows = scheme_report.read(out.parent)
    assert {row.way: row.num_exact for row in rows}["form_given"] == form_given


def test_symbols_are_given_in_both_cases_as_far_as_the_reader_knows_them() -> None:
    assert zero_labels.both_cases("aB7", "0123456789ABCabc") == "7ABab"
    assert zero_labels.both_cases("дж2", "0123abc") == "2"
    assert zero_labels.both_cases("дж", "0123abc") == ""
    assert zero_labels.form(["ab", "b", "abc"]) == ("abc", (1, 3))
