"""Adaptation: its settings, and processes that train, fail and are stopped."""

import csv
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.errors import RunError
from crnn_jax.labeling import adapting, run
from crnn_jax.labeling.adapting import Adapter
from crnn_jax.labeling.label_rules import EntryError
from crnn_jax.runs.launch import Process, Task
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import lock
from experiments import adapt
from tests.helpers.images import draw

# A training of a second. The settings of adapt.py but for these are tested by their values.
SHORT = {"train.epochs": 1, "train.passes_per_epoch": 1, "train.min_steps_per_epoch": 1,
         "train.batch_size": 8, "train.eval_batch_size": 8}  # fmt: skip


def test_the_settings_are_those_of_the_experiment(tmp_path: Path) -> None:
    ours = adapting.config(crnn_jax.load("general"), "general", tmp_path)
    theirs = config_lib.from_config_dict(adapt.get_config())
    differing = {
        key
        for key, value in config_lib.flatten(config_lib.to_dict(theirs)).items()
        if config_lib.flatten(config_lib.to_dict(ours))[key] != value
    }
    assert differing == {"data.dir"}
    assert ours.data.dir == os.fspath(tmp_path)


def test_a_run_is_started_from_by_its_absolute_path(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.parent)
    found = adapting.config(crnn_jax.load(trained), trained.name, tmp_path)
    assert found.train.init_from == os.fspath(trained)
    assert found.model.lstm_units == crnn_jax.load(trained).config.model.lstm_units


def test_a_reader_of_one_width_is_adapted_at_this_width(trained: Path, tmp_path: Path) -> None:
    reader = crnn_jax.load(trained)  # reads 64x16, a quarter of the width in time steps
    found = adapting.config(reader, str(trained), tmp_path).data
    assert (found.width, found.height) == (64, 16)
    assert run.num_steps(reader) == 16


class GivenLabels:
    """The part of a session that an adapter uses."""

    def __init__(self, labels: dict[str, str]):
        self._labels = labels

    @property
    def num_labels(self) -> int:
        return len(self._labels)

    def labels(self) -> dict[str, str]:
        return dict(self._labels)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for number in range(64):
        draw("abc7"[number % 4] * 2).save(folder / f"{'sub/' * (number % 2)}{number:02}.png")
    return folder


def labels(count: int) -> Any:
    return GivenLabels({f"{'sub/' * (n % 2)}{n:02}.png": "abc7"[n % 4] * 2 for n in range(count)})


class Command:
    """Replaces the training command by Python code with RUN in place of the run directory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: str):
        self.started: list[Path] = []

        def process(task: Task) -> Process:
            folder = Path(task.command[-1])
            self.started.append(folder)
            command = [sys.executable, "-c", code.replace("RUN", repr(os.fspath(folder)))]
            return Process(task._replace(command=command))

        monkeypatch.setattr(adapting, "Process", process)


def ended(adapter: Adapter, given: Any) -> Any:
    """Waits for the training and returns the new reader, if there is one."""
    assert adapter._process
    adapter._process.wait()
    return adapter.step(given)


def test_trainings_start_when_they_are_due_on_a_copy_of_the_labeled_images(
    trained: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(monkeypatch, "print('error: no luck'); raise SystemExit(2)")
    adapter = Adapter(crnn_jax.load(trained), str(trained), images, tmp_path / "work", 10)
    assert adapter.status[:2] == ("waiting", 10)
    assert adapter.step(labels(9)) is None
    assert not adapter.is_training
    given = labels(10)
    adapter.step(given)
    assert adapter.is_training
    copy = tmp_path / "work" / "labels-0010"
    with (copy / "labels.csv").open(newline="") as file:
        assert {row["file"]: row["label"] for row in csv.DictReader(file)} == given.labels()
    for name in given.labels():
        assert (copy / name).read_bytes() == (images / name).read_bytes()
    config = RunDir(tmp_path / "work" / "reader-0010").config()
    assert config.data.dir == os.fspath(copy)
    assert config.train.init_from == os.fspath(trained)
    assert ended(adapter, given) is None
    assert not adapter.is_training
    assert adapter.status[:2] == ("failed", 10)
    assert adapter.status.message.startswith("no luck (see ")
    # Not again before ten more labels; with many labels, a quarter more.
    for count in (10, 19):
        adapter.step(labels(count))
        assert len(command.started) == 1
    for count in (20, 50, 61, 62):
        given = labels(count)
        adapter.step(given)
        if adapter.is_training:
            ended(adapter, given)
    started = [int(path.name.removeprefix("reader-")) for path in command.started]
    assert started == [10, 20, 50, 62]


def test_an_adapter_that_is_off_never_trains(trained: Path, images: Path, tmp_path: Path) -> None:
    adapter = Adapter(crnn_jax.load(trained), str(trained), images, tmp_path / "work", 0)
    assert adapter.step(labels(60)) is None
    assert not adapter.is_training
    assert adapter.status.kind == "off"
    assert not (tmp_path / "work").exists()


def test_a_copy_that_cannot_be_made_is_a_failure_and_no_error(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    adapter = Adapter(crnn_jax.load(trained), str(trained), images, tmp_path / "work", 10)
    given = labels(10)
    (images / "04.png").unlink()
    (images / "04.png").mkdir()
    assert adapter.step(given) is None
    assert adapter.status[:2] == ("failed", 10)
    assert "04.png" in adapter.status.message


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_training_that_has_not_ended_is_ended_at_once(
    trained: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    has_ended: bool,
) -> None:
    """Its part is of no use to the next session. A process that saves first would take minutes."""
    code = (
        "import signal, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(RUN, 'ready').touch()\n"
    )
    code += "" if has_ended else "while True: signal.pause()\n"
    command = Command(monkeypatch, code)
    adapter = Adapter(crnn_jax.load(trained), str(trained), images, tmp_path / "work", 10)
    adapter.step(labels(10))
    (folder,) = command.started
    assert adapter._process
    process = adapter._process
    while not (folder / "ready").exists() or (has_ended and process.poll() is None):
        time.sleep(0.01)
    adapter.stop()
    assert process.poll() == (0 if has_ended else -signal.SIGKILL)
    assert folder.exists() == has_ended
    assert (tmp_path / "work" / "labels-0010").exists() == has_ended


@pytest.mark.long
def test_the_reader_is_adapted_and_the_next_session_uses_it(
    trained: Path, images: Path, tmp_path: Path
) -> None:
    base = crnn_jax.load(trained)
    work = tmp_path / "work"

    def made() -> Adapter:
        return Adapter(base, str(trained), images, work, 10, SHORT)

    adapter = made()
    assert adapter.restored() is None
    for count in (10, 20):
        adapter.step(labels(count))
        new = ended(adapter, labels(count))
        assert adapter.status[:3] == ("adapted", count, "")
        assert new[0] == f"reader-{count:04}"
    assert new[1].charset.alphabet
    assert new[1].config.train.init_from == os.fspath(trained)
    assert sorted(path.name for path in work.iterdir()) == ["labels-0020", "reader-0020"]
    again = made()
    name, reader = again.restored()  # type: ignore[misc]
    assert name == "reader-0020"
    assert reader.fingerprint == new[1].fingerprint
    assert again.newest == work / "reader-0020"
    assert again.step(labels(29)) is None
    assert not again.is_training
    # A reader that was adapted from another one, or that reads in another way, is not used.
    stored = (work / "reader-0020" / "config.json").read_text()
    for section, key, value in (
        ("train", "init_from", "general"), ("data", "frame", "last"), ("data", "width", 96),
    ):  # fmt: skip
        config = json.loads(stored)
        config[section][key] = value
        (work / "reader-0020" / "config.json").write_text(json.dumps(config))
        assert made().restored() is None
    (work / "reader-0020" / "config.json").write_text(stored)
    assert made().restored() is not None


def test_a_folder_is_labeled_with_a_real_reader_by_one_process_at_a_time(
    trained: Path, images: Path
) -> None:
    with run.opened(images, str(trained), 0) as desk:
        assert lock.is_held(images / ".crnn-jax")
        with (
            pytest.raises(RunError, match="is being labeled by another process"),
            run.opened(images, str(trained), 0),
        ):
            pass
        while desk.reading.advance():
            pass
        shown = desk.session.current()
        assert shown is not None
        path = images / desk.session.files[shown.number]
        (expected,) = crnn_jax.load(trained).explain(path)
        guess = desk.session.guess(shown.number)
        assert guess[:2] == (expected.text, pytest.approx(expected.confidence, abs=1e-4))
        characters = desk.session.characters(shown.number)
        assert [c.symbol for c in characters] == list(expected.text)
        with pytest.raises(EntryError, match="needs"):
            desk.session.label(shown.number, "a" * 200)
    assert not (images / "labels.csv").exists()
    assert not (images / ".crnn-jax").exists()  # nothing was entered


def test_animations_are_shown_read_and_learned_by_the_chosen_frame(
    trained: Path, tmp_path: Path
) -> None:
    pictures = [draw("ab7"), draw("cc")]
    pictures[0].save(tmp_path / "x.gif", save_all=True, append_images=pictures[1:])
    with run.opened(tmp_path, str(trained), 0) as desk:
        desk.reading.advance()
        assert "--frame" in desk.session.pool.bad[0]
    with run.opened(tmp_path, str(trained), 0, {"data.frame": "last"}) as desk:
        while desk.reading.advance():
            pass
        assert desk.session.pool.texts == [crnn_jax.load(trained).predict(pictures[1])[0].text]
        assert desk.session.current() is not None
        assert len(desk.session.characters(0)) == len(desk.session.pool.texts[0])
        with Image.open(io.BytesIO(desk.image(0))) as shown:
            assert shown.convert("L").tobytes() == pictures[1].tobytes()
        assert desk.adapter._config(1).data.frame == "last"


def test_an_image_that_was_removed_is_left_out_of_the_copy(images: Path, tmp_path: Path) -> None:
    files = sorted(path.name for path in images.glob("*.png"))[:3]
    (images / files[1]).unlink()
    adapting.copy_labeled(images, dict.fromkeys(files, "ab"), tmp_path / "copy")
    copied = sorted(path.name for path in (tmp_path / "copy").iterdir())
    assert copied == sorted([files[0], files[2], "labels.csv"])
    assert (tmp_path / "copy" / "labels.csv").read_text().count("\n") == 3
