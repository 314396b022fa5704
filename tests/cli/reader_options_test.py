"""The options --epoch and --beam of `evaluate`, `predict` and `serve`."""

import json
from pathlib import Path
from typing import Any

import pytest

import crnn_jax
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn
from crnn_jax.models.decoding import Decoder
from crnn_jax.serving import server
from tests.helpers.command_line import call


@pytest.fixture
def other_epoch(trained: Path) -> int:
    """An epoch of `trained` whose checkpoint is kept, and which is not the best."""
    best = json.loads((trained / "result.json").read_text())["best_epoch"]
    kept = [int(path.name) for path in (trained / "checkpoints").iterdir()]
    return next(epoch for epoch in kept if epoch != best)


def test_evaluate_scores_the_weights_of_the_epoch(
    trained: Path, other_epoch: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(capsys, "evaluate", trained, "--epoch", other_epoch, "--format", "json")
    assert (status, err) == (0, "")
    values = json.loads(out)
    result = json.loads((trained / "result.json").read_text())
    assert (values["epoch"], values["best_epoch"]) == (other_epoch, result["best_epoch"])
    weights = crnn_jax.load(trained, other_epoch).params
    assert values["params_sha256"] == crnn.params_sha256(weights) != result["params_sha256"]
    # Training has scored the same weights on the same images.
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    (then,) = [line for line in lines if line["epoch"] == other_epoch and "val_loss" in line]
    assert values["val_loss"] == pytest.approx(then["val_loss"], rel=1e-4)
    assert result["val_loss"] != pytest.approx(then["val_loss"], rel=1e-2)
    assert values["temperature"] == 1  # only the best weights are calibrated


@pytest.mark.parametrize("command", ["evaluate", "predict", "serve"])
def test_each_command_reads_with_the_epoch_and_the_beam(
    trained: Path,
    other_epoch: int,
    captchas: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    used: list[tuple[int, Decoder]] = []
    evaluate = Recognizer.evaluate

    def scored(self: Recognizer, folder: Any, decoder: Decoder, **options: Any) -> Any:
        used.append((self.epoch, decoder))
        return evaluate(self, folder, **options)

    def stream(self: Recognizer, images: Any, decoder: Decoder, *_: Any, **__: Any) -> Any:
        used.append((self.epoch, decoder))
        return iter(())

    def served(programs: Any, bound: Any, *_: Any) -> None:
        bound.close()
        used.append((programs.reader.epoch, programs.decoder))

    monkeypatch.setattr(Recognizer, "evaluate", scored)
    monkeypatch.setattr(Recognizer, "stream", stream)
    monkeypatch.setattr(server, "serve", served)
    others: dict[str, list[Any]] = {"predict": [captchas], "serve": ["--port", 0]}
    more = others.get(command, [])
    assert call(capsys, command, trained, *more, "--epoch", other_epoch, "--beam", 16)[0] == 0
    assert call(capsys, command, trained, *more)[0] == 0
    best = json.loads((trained / "result.json").read_text())["best_epoch"]
    assert [(epoch, decoder.beam) for epoch, decoder in used] == [(other_epoch, 16), (best, 0)]


def test_predict_prints_the_readings_of_the_beam_search(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(captchas.iterdir())[:3]
    reader = crnn_jax.load(trained)
    expected = [reading.text for reading in reader.predict(paths, reader.decoder(beam=16))]
    status, out, err = call(capsys, "predict", trained, *paths, "--beam", 16)
    assert (status, err) == (0, "")
    assert [line.split("\t")[1] for line in out.splitlines()] == expected
