"""The strength report: what a strength sets, and that readings are counted right."""

import dataclasses
import json
import os

import pytest

import crnn_jax
from crnn_jax import sources, strength, styles
from crnn_jax.__main__ import main
from crnn_jax.errors import ConfigError

CALM = styles.from_values({"alphabet": "abc7", "length": [1, 2], "width": 64, "height": 16,
                           "size": [12, 12], "left": [4, 9], "baseline": [12, 12]})  # fmt: skip


@pytest.mark.parametrize("name", strength.DISTORTIONS)
def test_a_strength_of_none_is_plain_text_and_more_changes_its_own_keys(name):
    distortion = strength.DISTORTIONS[name]
    assert distortion.strengths[0] == 0
    assert list(distortion.strengths) == sorted(distortion.strengths)
    none, some = (strength.laid_on(CALM, name, s, s) for s in (0, distortion.strengths[-1]))
    for key in strength._CALM:
        assert getattr(none, key) == (0, 0)
    changed = {
        f.name for f in dataclasses.fields(CALM) if getattr(none, f.name) != getattr(some, f.name)
    }
    own = {"wave": {"wave_x", "wave_y"}, "overlap": {"spacing"}, "lines": {"curves"}}
    assert changed == own.get(name, {name})


def test_a_report_counts_what_a_reader_reads(trained, tmp_path, monkeypatch, capsys):
    file = tmp_path / "look.json"
    file.write_text(json.dumps(dataclasses.asdict(CALM)))
    monkeypatch.setitem(strength.DISTORTIONS, "noise", strength.Distortion("grey levels", (0, 200)))
    arguments = [
        "strength", os.fspath(trained), "--style", os.fspath(file), "--count", "8", "--adapt", "4",
        "--distortion", "noise", "--workdir", os.fspath(tmp_path / "out"),
    ]  # fmt: skip
    assert main(arguments) == 0
    said = capsys.readouterr().out
    rows = (tmp_path / "out/strength.csv").read_text().splitlines()[1:]
    assert len(rows) == 4  # two strengths, two readers
    adapted = crnn_jax.load(tmp_path / "out/noise/run")
    assert adapted.config.train.init_from == os.fspath(trained)
    reader = crnn_jax.load(trained)
    numbers = range(2**31 - 9, 2**31 - 1)
    for row in rows:
        name, level, _, against, exact, count, *_ = row.split(",")
        look = strength.laid_on(CALM, name, float(level), float(level))
        data = sources.generate(look, reader.config.data, numbers)
        who = adapted if against == "True" else reader
        texts = [reading.text for reading in who.predict(data.images)]
        assert int(exact) == sum(a == b for a, b in zip(texts, data.texts, strict=True))
        assert count == "8"
    assert "| noise, grey levels | trained against it | 0: " in said
    assert "fingerprint" in said
    assert (tmp_path / "out/strength.png").stat().st_size > 1000


def test_what_cannot_be_measured_is_named(trained, tmp_path, capsys):
    assert main(["strength", os.fspath(trained)]) == 2
    assert "knows no '2345" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no distortion 'glare'; there are turn, "):
        strength.measure(trained, tmp_path, "plain", 1, 0, ["glare"])
