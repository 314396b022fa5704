import functools
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax.charset import Charset
from crnn_jax.data import image_io
from crnn_jax.errors import ConfigError, DataError, RunError
from crnn_jax.inference import batch_reading, evaluate
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.serving.programs import Programs
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw


@pytest.fixture(scope="module")
def run(trained: Path) -> Path:
    return trained


@pytest.fixture(scope="module")
def reader(run: Path) -> Recognizer:
    return crnn_jax.load(run)


@pytest.fixture(scope="module")
def surest(reader: Recognizer, captchas: Path) -> Path:
    """The image that the reader is surest of: small changes of its pixels change no text."""
    files = sorted(captchas.iterdir())
    return max(zip(files, reader.predict(files), strict=True), key=lambda pair: pair[1].confidence)[
        0
    ]


def test_paths_bytes_images_and_arrays_give_the_same_reading(
    reader: Recognizer, captchas: Path
) -> None:
    path = sorted(captchas.iterdir())[0]
    image = Image.open(path)
    array = np.asarray(image)
    kinds: list[Any] = [path, str(path), path.read_bytes(), image, array, array[..., None]]
    readings = reader.predict(kinds)
    assert readings == [readings[0]] * len(kinds)
    # A single image, and a whole array. Other batch sizes may round differently.
    for alone in (str(path), path.read_bytes(), image, array):
        assert [reading.text for reading in reader.predict(alone)] == [readings[0].text]
    batch = reader.predict(np.stack([array] * 3)[..., None])
    assert [reading.text for reading in batch] == [readings[0].text] * 3


def test_the_order_is_kept_over_batches_and_padding_reads_nothing(
    reader: Recognizer, captchas: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(captchas.iterdir())
    expected = [reader.predict(path)[0].text for path in paths]
    assert len(set(expected)) > 10
    monkeypatch.setattr(batch_reading, "BATCH", 16)  # 40 = 16 + 16 + 8
    assert [reading.text for reading in reader.predict(paths)] == expected
    assert reader.predict([]) == []


def test_confidence_is_the_probability_over_all_alignments(
    reader: Recognizer, captchas: Path
) -> None:
    """Compares with the loss of the reading in optax, which shares no padding with the decoder."""
    import optax

    from crnn_jax.models import crnn

    path = sorted(captchas.iterdir())[3]
    (reading,) = reader.predict(path)
    image = image_io.to_array(Image.open(path), reader.config.data)[None]
    apply = jax.jit(lambda params: crnn.apply(reader.model, params, jnp.asarray(image)))
    logits = np.asarray(apply(reader.params))
    label = reader.charset.encode([reading.text])
    zeros = np.zeros((1, logits.shape[1])), np.zeros(label.shape)
    assert reader.temperature != 1
    logits = logits / reader.temperature
    ctc_loss = jax.jit(functools.partial(optax.ctc_loss, blank_id=reader.charset.blank))
    loss = ctc_loss(logits, zeros[0], label, zeros[1])
    assert reading.confidence == pytest.approx(float(np.exp(-loss[0])), rel=1e-5)
    assert 0 < reading.confidence <= 1


def test_a_reader_keeps_to_the_length_that_it_is_told(reader: Recognizer, captchas: Path) -> None:
    paths = sorted(captchas.iterdir())
    by_length = reader.predict(paths, reader.decoder(length=3, allowed="ab7"))
    assert {len(reading.text) for reading in by_length} == {3}
    assert set("".join(reading.text for reading in by_length)) <= set("ab7")
    # If the greedy text has that form, it is already the best path.
    fitting = 0
    for free, told in zip(reader.predict(paths), by_length, strict=True):
        if len(free.text) == 3 and "c" not in free.text:
            fitting += 1
            assert told.text == free.text
            assert told.confidence == pytest.approx(free.confidence, rel=1e-4)
    assert fitting > 2
    # A beam that drops hardly any text never finds a less probable one than a greedy path.
    for free, searched in zip(
        reader.predict(paths), reader.predict(paths, reader.decoder(beam=128)), strict=True
    ):
        assert searched.confidence >= free.confidence * (1 - 1e-4)


def test_a_reader_with_merged_symbols_sees_them_as_one(reader: Recognizer, captchas: Path) -> None:
    """b is read as a. Compares with the loss of optax over 7, a or b, c and the blank."""
    import optax

    from crnn_jax.models import crnn

    paths = sorted(captchas.iterdir())
    merged = reader.decoder(merge="ab")
    explanations, readings = reader.explain(paths, merged), reader.predict(paths, merged)
    assert [e.text for e in explanations] == [reading.text for reading in readings]
    images = np.stack([image_io.to_array(Image.open(p), reader.config.data) for p in paths])
    apply = jax.jit(lambda params: crnn.apply(reader.model, params, jnp.asarray(images)))
    logits = np.asarray(apply(reader.params), np.float64)
    ctc_loss = jax.jit(functools.partial(optax.ctc_loss, blank_id=3))
    assert reader.charset.alphabet == "7abc"

    def added(logits: Any) -> np.ndarray:
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return np.stack([p[..., 0], p[..., 1] + p[..., 2], p[..., 3], p[..., 4]], -1)

    best = added(logits).argmax(-1)
    for row, explained, reading, logit in zip(best, explanations, readings, logits, strict=True):
        runs = [k for i, k in enumerate(row) if k < 3 and (i == 0 or k != row[i - 1])]
        assert reading.text == "".join("7ac"[k] for k in runs)
        if not runs:
            continue
        log_p = np.log(added(logit / reader.temperature))[None].astype(np.float32)
        zeros = np.zeros((1, len(row))), np.zeros((1, len(runs)))
        loss = ctc_loss(log_p, zeros[0], np.array([runs]), zeros[1])
        assert reading.confidence == pytest.approx(float(np.exp(-loss[0])), rel=1e-4)
        assert explained.confidence == pytest.approx(reading.confidence, rel=1e-4)
        assert "b" not in "".join(other.text for other in explained.alternatives)
        same = [other.confidence for other in explained.alternatives if other.text == reading.text]
        assert same == [pytest.approx(reading.confidence, rel=0.02)]
        assert all(reading.confidence <= c.probability + 1e-4 for c in explained.characters)
        assert all(c.right > c.left for c in explained.characters)
    assert "a" in "".join(reading.text for reading in readings)
    assert "b" in "".join(reading.text for reading in reader.predict(paths))


def test_evaluation_takes_a_decoder(reader: Recognizer, captchas: Path) -> None:
    told = reader.evaluate(captchas, reader.decoder(length=4)).evaluation
    right = {answer.file for answer in told.answers if answer.truth == answer.reading}
    assert right
    assert all(len(answer.reading) == 4 for answer in told.answers)
    with pytest.raises(crnn_jax.errors.ConfigError, match="from 1 to 16, the number of time steps"):
        reader.decoder(length=17)  # 64 pixels are 16 steps


def test_a_decoder_of_another_reader_is_refused(
    reader: Recognizer, captchas: Path, trained: Path
) -> None:
    other = crnn_jax.load(trained)
    other.charset = Charset("cba7")  # as many symbols, in another order
    foreign, path = other.decoder(merge="ab"), str(min(captchas.iterdir()))
    calls: list[Callable[[Any], Any]] = [
        lambda decoder: reader.predict(path, decoder),
        lambda decoder: reader.explain(path, decoder),
        lambda decoder: reader.stream(path, decoder),
        lambda decoder: reader.evaluate(captchas, decoder),
        lambda decoder: Programs(reader, decoder),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="a reader with other symbols"):
            call(foreign)
        for wrong in (path, 5, 0, ""):
            with pytest.raises(ConfigError, match="pass several images as a list"):
                call(wrong)


def test_a_stream_checks_its_arguments_before_the_first_image(reader: Recognizer) -> None:
    with pytest.raises(ConfigError, match="order must be"):
        reader.stream([], order="x")
    with pytest.raises(DataError, match="is not an image"):
        reader.stream(5)


def test_evaluation_counts_every_example_once(reader: Recognizer, captchas: Path) -> None:
    texts = [path.stem for path in sorted(captchas.iterdir())]
    readings = [reading.text for reading in reader.predict(sorted(captchas.iterdir()))]
    by_hand = sum(a == b for a, b in zip(texts, readings, strict=True))
    evaluation, name, fingerprint, trained_on = reader.evaluate(captchas)
    assert evaluation.scores.num_examples == 40
    assert evaluation.scores.num_exact == by_hand
    assert len(evaluation.misreads) == 40 - by_hand
    assert (name, fingerprint, trained_on) == (captchas.name, reader.fingerprint, 36)


@pytest.mark.parametrize("batch_size", [1, pytest.param(4, marks=pytest.mark.long), 7, 10, 64])
def test_ten_examples_score_the_same_in_batches_of_any_size(
    reader: Recognizer, tiny_config: MakeConfig, batch_size: int
) -> None:
    config = tiny_config(train__eval_batch_size=batch_size)
    context = prepare(config)
    context = context._replace(
        model=reader.model, split=context.split._replace(val=np.arange(10, dtype=np.int32))
    )
    evaluation = context.evaluate(reader.params)
    whole = evaluate.evaluate(
        evaluate.Reader(reader.model, reader.params, reader.charset),
        evaluate.LabeledImages(
            context.images, context.labels, context.data.files, context.data.texts
        ),
        np.arange(10),
        batch_size=10,
    )
    assert evaluation.scores == whole.scores
    # A single image uses other kernels: 2e-4 in its logits without optimization.
    assert evaluation.loss == pytest.approx(whole.loss, rel=1e-4)


def test_the_validation_part_gives_the_run_s_own_result(reader: Recognizer, run: Path) -> None:
    import json

    result = json.loads((run / "result.json").read_text())
    evaluation, *_, trained_on = reader.evaluate()
    assert trained_on == 0
    assert evaluation.scores.num_exact == result["num_exact"]
    # Another batch size, so the sums round differently.
    assert evaluation.loss == pytest.approx(result["val_loss"], rel=1e-5)


def test_decode_batch_predictions_knows_the_reader_s_alphabet(reader: Recognizer) -> None:
    pred = np.eye(5)[[[0, 4, 1, 1, 4]]]  # 7 - a a -
    assert reader.decode_batch_predictions(pred) == ["7a"]


def test_every_image_that_cannot_be_read_is_named(
    reader: Recognizer, captchas: Path, tmp_path: Path
) -> None:
    good = sorted(captchas.iterdir())[0]
    (tmp_path / "bad.png").write_text("no")
    images: list[Any] = [good, tmp_path / "bad.png", b"no", np.zeros((4, 4)), tmp_path / "none.png"]
    with pytest.raises(DataError) as error:
        reader.predict(images)
    message = str(error.value)
    for part in ("4 of 5", "bad.png: not an image", "number 2: ", "number 3: an array", "none.png"):
        assert part in message


def test_a_reader_takes_images_of_any_size(reader: Recognizer, surest: Path) -> None:
    """An image with larger pixels reads the same; one of one pixel reads as an empty image."""
    image = Image.open(surest)
    large = image.resize((8 * image.width, 8 * image.height), Image.Resampling.NEAREST)
    images = [image, large, draw(""), draw("a", 1, 1)]
    expected, found, empty, one = (reading.text for reading in reader.predict(images))
    assert found == expected != ""
    assert one == empty


@pytest.mark.parametrize(
    ("given", "epoch", "said"),
    [
        (b"run", None, "a run is given by its path or its name, not b'run'"),
        (None, None, "a run is given by its path or its name, not None"),
        (__file__, None, "is a file and not a run directory"),
        ("RUN", "2", "an epoch is a whole number, not '2'"),
        ("general", "2", "an epoch is a whole number, not '2'"),
        ("RUN", True, "an epoch is a whole number, not True"),
    ],
)
def test_what_is_no_run_or_epoch_is_named(trained: Path, given: Any, epoch: Any, said: str) -> None:
    with pytest.raises(RunError, match=said):
        crnn_jax.load(trained if given == "RUN" else given, epoch)


@pytest.mark.parametrize("kind", ["missing", "empty", "untrained"])
def test_a_directory_that_is_no_run(tmp_path: Path, run: Path, kind: str) -> None:
    folder = tmp_path / "run"
    if kind != "missing":
        folder.mkdir()
    if kind == "untrained":
        (folder / "config.json").write_bytes((run / "config.json").read_bytes())
    with pytest.raises(RunError):
        crnn_jax.load(folder)


def test_a_folder_with_other_characters_is_refused_by_name(
    reader: Recognizer, tmp_path: Path
) -> None:
    draw("az").save(tmp_path / "az.png")
    with pytest.raises(DataError, match=r"az\.png.*'z'"):
        reader.evaluate(tmp_path)


def test_bytes_of_every_common_format_are_read(reader: Recognizer, surest: Path) -> None:
    image = Image.open(surest).convert("RGB")
    (expected,) = reader.predict(image)
    for kind in ("PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        (reading,) = reader.predict(buffer.getvalue())
        assert reading.text == expected.text != "", kind
        if kind in ("PNG", "BMP", "TIFF"):  # without loss
            assert reading == expected, kind


def test_a_reader_starts_without_what_only_training_needs(trained: Path) -> None:
    """Their imports take longer than loading the reader. Flax is needed to compile a program."""
    code = (
        "import sys, crnn_jax; crnn_jax.load('general'); crnn_jax.load(sys.argv[1]); "
        "print({'flax', 'ml_collections', 'optax', 'orbax.checkpoint', 'tensorstore'} "
        "& {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, trained], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
