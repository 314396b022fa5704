"""Packs of images: what they contain, that runs on them are runs on the folder, and damage."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader

from crnn_jax import config as config_lib
from crnn_jax.config import DataConfig
from crnn_jax.data import feed, folder, listing, memory, on_disk, pack, packed, sources
from crnn_jax.errors import DataError
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training import train
from tests.helpers.command_line import call
from tests.helpers.fixtures import CONFIG, MakeConfig
from tests.helpers.images import draw
from tests.helpers.quiet import BARE

SMALL = 1000 / 2**30  # GiB, less than the images of the small set
# Two epochs of four steps, of two passes each over 31 images. The noise shows that an image gets
# the same draws from any source.
KEYS = {**BARE, "augment.noise": 0.1, "train.epochs": 2, "train.min_steps_per_epoch": 3,
        "train.batch_size": 16, "data.test_size": 5, "data.normalize": ""}  # fmt: skip


def section(directory: Path, **changes: Any) -> DataConfig:
    values = config_lib.with_changes(
        config_lib.defaults(),
        {"data.source": "folder", "data.dir": str(directory), "data.width": 64, "data.height": 16}
        | {f"data.{name}": value for name, value in changes.items()},
    )
    return config_lib.from_dict(values).data


@pytest.fixture
def pack_of(captchas: Path, tmp_path: Path) -> Path:
    """The small set in three files."""
    size = sum(path.stat().st_size for path in captchas.glob("*.png"))
    assert pack.write(section(captchas), tmp_path / "pack", shard_bytes=size // 3 + 1) == 40
    return tmp_path / "pack"


def test_a_pack_has_the_bytes_of_the_files_in_order(captchas: Path, pack_of: Path) -> None:
    shards = sorted(pack_of.glob("*.array_record"))
    assert [path.name for path in shards] == [f"images-{i:05d}.array_record" for i in range(3)]
    contents: list[bytes] = []
    for path in shards:
        reader = ArrayRecordReader(str(path))
        contents += reader.read(0, reader.num_records())
        reader.close()
    files = sorted(captchas.glob("*.png"))
    assert contents == [path.read_bytes() for path in files]
    rows = list(csv.DictReader((pack_of / "index.csv").read_text().splitlines()))
    assert [row["file"] for row in rows] == [path.name for path in files]
    assert [row["label"] for row in rows] == [path.stem for path in files]
    assert {row["part"] for row in rows} == {""}
    manifest = json.loads((pack_of / "pack.json").read_text())
    assert sum(shard["records"] for shard in manifest["shards"]) == manifest["images"] == 40


def test_a_pack_is_the_same_data_set_as_its_folder(captchas: Path, pack_of: Path) -> None:
    ours, theirs = (folder.load(section(path), None, 16) for path in (pack_of, captchas))
    assert ours.fingerprint == theirs.fingerprint == packed.manifest(pack_of).fingerprint
    assert (ours.files, ours.labels, ours.origin) == (theirs.files, theirs.labels, theirs.origin)
    np.testing.assert_array_equal(ours.images, theirs.images)


def test_parts_and_names_of_a_folder_are_kept(captchas: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number, path in enumerate(sorted(captchas.glob("*.png"))[:12]):
        place = source / ("test" if number % 3 == 0 else "train") / f"ü, {path.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    pattern = "ü, (.+)"
    pack.write(section(source, label_pattern=pattern), tmp_path / "pack")
    found = listing.of(section(tmp_path / "pack"))
    expected = listing.of(section(source, label_pattern=pattern))
    assert (found.labels, found.parts) == (expected.labels, expected.parts)
    assert list(found.parts.values()).count("test") == 4
    both = [folder.load(section(path, label_pattern=p), None, 16).fingerprint
            for path, p in ((source, pattern), (tmp_path / "pack", ""))]  # fmt: skip
    assert both[0] == both[1] == packed.manifest(tmp_path / "pack").fingerprint


def test_runs_on_folder_pack_and_disk_have_the_same_weights(
    captchas: Path, pack_of: Path, tiny_config: MakeConfig, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(on_disk, "SAMPLE", 8)
    monkeypatch.setattr(sources, "SAMPLE", 8)
    monkeypatch.setattr(on_disk, "is_needed", lambda data: data.workers != 7)
    found = {}
    for name, path, workers in (
        ("folder", captchas, 7),
        ("memory", pack_of, 7),
        ("threads", pack_of, 0),
        ("processes", pack_of, 2),
    ):
        if name == "threads":
            monkeypatch.setattr(packed, "is_pack", lambda path: str(path) == str(pack_of))
        keys = {**KEYS, "train.stop_after": 1, "data.dir": str(path), "data.workers": workers}
        config = tiny_config(keys)
        found[name] = train.train_and_evaluate(config, tmp_path / name)
        said = capsys.readouterr().out
        assert ("so they are read from the disk" in said) == (name in ("threads", "processes"))
    assert len({result.params_sha256 for result in found.values()}) == 1
    assert len({result.fingerprint for result in found.values()}) == 1
    tests = [json.loads((tmp_path / name / "test.json").read_text())["scores"] for name in found]
    assert tests == [tests[0]] * 4


def test_a_run_on_disk_goes_on_in_the_middle_of_an_epoch(
    pack_of: Path, tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_disk, "SAMPLE", 8)
    monkeypatch.setattr(sources, "SAMPLE", 8)
    monkeypatch.setattr(on_disk, "is_needed", lambda data: True)
    returned: list[str] = []
    monkeypatch.setattr(train.allocator, "return_memory", lambda: returned.append("to the system"))
    config = tiny_config({**KEYS, "data.dir": str(pack_of), "data.workers": 0})
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    assert len(returned) == 2  # once in an epoch
    assert packed._index.cache_info().currsize == 0
    record = train.record_losses

    def stop_at_five(runs: Any, losses: Any, progress: Any) -> None:
        record(runs, losses, progress)
        if runs[0].step == 5:  # of four in an epoch
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(train, "record_losses", stop_at_five)
    with pytest.raises(Exception, match="stopped by SIGTERM"):
        train.train_and_evaluate(config, tmp_path / "cut")
    monkeypatch.setattr(train, "record_losses", record)
    assert RunDir(tmp_path / "cut").result() is None
    assert train.train_and_evaluate(config, tmp_path / "cut").params_sha256 == whole.params_sha256


def test_the_feed_yields_the_images_of_its_numbers(
    captchas: Path, pack_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    options = grain.MultiprocessingOptions

    def spy(num_workers: int, **others: Any) -> Any:
        asked.append(num_workers)
        return options(1, **others)  # each worker takes a second to start

    monkeypatch.setattr(grain, "MultiprocessingOptions", spy)
    data = section(captchas)
    images = folder.load(data, None, 16).images
    places = np.random.default_rng(0).permutation(40).astype(np.int32)
    rows = np.array([[3, 39], [0, 3], [7, 7]], np.int32)
    for workers in (0, 2):
        records = feed.Records(section(pack_of, workers=workers), places)
        with records.batches(rows) as batches:
            found = list(batches)
        np.testing.assert_array_equal(found, images[places[rows]])
        assert asked == ([workers] if workers else [])


def test_a_large_folder_is_refused_and_a_large_pack_is_not_loaded(
    captchas: Path, pack_of: Path
) -> None:
    with pytest.raises(DataError, match=r"need 0\.0 GiB .*crnn-jax pack"):
        folder.load(section(captchas, memory_limit=SMALL), None, 16)
    assert on_disk.is_needed(section(pack_of, memory_limit=SMALL))
    assert not on_disk.is_needed(section(pack_of))
    with pytest.raises(DataError, match=r"lower data\.val_fraction"):
        on_disk.load(section(pack_of, memory_limit=SMALL), None, 16)
    with pytest.raises(DataError, match="must fit in the memory"):
        on_disk.load(section(pack_of, unlabeled="rest", train_size=5), None, 16)


def test_the_free_memory_is_the_smaller_of_system_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    system = memory.available()
    total = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/meminfo").read_text().splitlines()
        if line.startswith("MemTotal")
    )
    assert 0 < system <= total
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory.available() == 2000
    for devices in (2, 3):  # as many copies, that of the host, and as much again as one
        monkeypatch.setattr(jax, "local_device_count", lambda devices=devices: devices)
        assert memory.limit(section(tmp_path)) == 2000 // (devices + 2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert memory.limit(section(tmp_path)) == 2000 // 3
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 400\nactive_file 100\n")
    assert memory.available() == 2500  # the file cache can be freed
    assert memory.limit(section(tmp_path, memory_limit=0.5)) == 2**29
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() > 2000


def test_files_that_cannot_be_used_are_all_named_and_leave_no_pack(
    captchas: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(captchas, source)
    bad = sorted(source.glob("*.png"))[:2]
    bad[0].write_bytes(b"")
    bad[1].write_bytes(bad[1].read_bytes()[:40])
    with pytest.raises(DataError) as error:
        pack.write(section(source), tmp_path / "pack")
    assert all(path.name in str(error.value) for path in bad)
    assert not (tmp_path / "pack").exists()
    (tmp_path / "pack").mkdir()
    with pytest.raises(DataError, match="exists already"):
        pack.write(section(captchas), tmp_path / "pack")


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("pack.json", lambda b: b"", "cannot be read"),
        ("pack.json", lambda b: b.replace(b'"version": 1', b'"version": 9'), "of version 9"),
        ("pack.json", lambda b: b.replace(b"images-00000.", b"../images-00000."), "not the name"),
        ("index.csv", lambda b: b.replace(b"\n", b"\r\n", 1), "damaged or was edited"),
        ("images-00001.array_record", lambda b: b[:-1], "pack the images again"),
    ],
)
def test_damage_is_found(pack_of: Path, file: str, change: Any, expected: str) -> None:
    (pack_of / file).write_bytes(change((pack_of / file).read_bytes()))
    (pack_of / "pack.json").touch()
    with pytest.raises(DataError, match=expected):
        folder.load(section(pack_of), None, 16)


def test_a_changed_bit_of_an_image_is_found(pack_of: Path) -> None:
    path = pack_of / "images-00001.array_record"
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|cannot be used"):
        folder.load(section(pack_of), None, 16)


def test_an_incomplete_pack_is_no_folder_of_images(pack_of: Path) -> None:
    (pack_of / "pack.json").unlink()
    with pytest.raises(DataError, match="incomplete pack"):
        folder.load(section(pack_of), None, 16)


def test_a_label_file_may_be_called_index(captchas: Path, tmp_path: Path) -> None:
    shutil.copytree(captchas, tmp_path / "data")
    rows = [f"{path.name},{path.stem[::-1]}" for path in sorted(captchas.glob("*.png"))]
    (tmp_path / "data" / "index.csv").write_text("\n".join(["file,label", *rows]))
    found = listing.of(section(tmp_path / "data"))
    names = sorted(path.stem for path in captchas.glob("*.png"))
    assert list(found.labels.values()) == [name[::-1] for name in names]


def test_the_command(captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "pack", captchas, tmp_path / "pack", "--shard-mib", 1)
    assert status == 0
    assert out == (
        f"{tmp_path / 'pack'}: 40 images; train with --config.data.dir={tmp_path / 'pack'}\n"
    )
    assert packed.manifest(tmp_path / "pack").images == 40


def test_animations_are_packed_if_their_frame_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of, frames = tmp_path / "set", [draw("12"), draw("34")]
    folder_of.mkdir()
    for name in ("a", "b"):
        frames[0].save(folder_of / f"{name}.gif", save_all=True, append_images=frames[1:])
    command = ["pack", folder_of, tmp_path / "pack"]
    code, _, error = call(capsys, *command)
    assert code == 2
    assert "--frame" in error
    code, output, _ = call(capsys, *command, "--frame", "last")
    assert code == 0
    assert output.rstrip().endswith("--config.data.frame=last")
    config = section(tmp_path / "pack", frame="last")
    expected = folder.load(section(folder_of, frame="last"), None, 16)
    found = folder.load(config, None, 16)
    assert found.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(found.images, expected.images)


def test_two_folders_are_not_one_pack(captchas: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, dir=str(captchas), val_dir=str(captchas / "val"))
    with pytest.raises(DataError, match="pack one folder that has the folders train and val"):
        pack.write(config, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()
