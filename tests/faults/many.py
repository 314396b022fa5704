"""Ten thousand mutated images, a hundred thousand files, damaged runs: parts of the long run."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import folder, image_io
from crnn_jax.errors import DataError
from crnn_jax.inference import recognizer
from tests.faults import pictures_test, runs_test, strangers
from tests.faults.commands import call, captchas, train_command, verb


def pictures(work: Path, moments: random.Random, scale: float) -> dict[str, int]:
    count, large = int(10_000 * scale), int(100_000 * scale)
    data, run = captchas(work / "data"), work / "run"
    call(train_command(data, run, "--config.train.epochs=40"))
    reader, clean = recognizer.load(run), sorted(data.iterdir())
    read = refusals = right = 0
    before = 0
    for seed in range(count // 500):
        a, b, c = pictures_test.check_mutated(reader, clean[:8], 500, seed)
        read, refusals, right = read + a, refusals + b, right + c
        if seed == 1:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # A tenth of them also as files, by the command, and as data sets.
    rng = np.random.default_rng(moments.getrandbits(32))
    kinds = [c for p in clean[:8] for c in strangers.kinds(Image.open(p)).values()]
    files = work / "files"
    files.mkdir()
    expected, bad = {}, set()
    for i in range(count // 10):
        path = files / f"ab_{i}{['.png', '.jpg', ',.gif', ' .tif'][i % 4]}"
        one, other = rng.integers(len(kinds), size=2)
        content = strangers.mutate(rng, kinds[one], kinds[other])
        if i % 10 == 0:
            content = clean[i % 8].read_bytes()
            expected[str(path)] = reader.predict(clean[i % 8])[0].text
        path.write_bytes(content)
        try:
            image_io.open_image(content)
        except DataError:
            bad.add(path.name)
    bad |= set(pictures_test.odd_files(files))
    for name, (content, _) in strangers.refused().items():
        (files / f"ab_x{name}").write_bytes(content)
        bad.add(f"ab_x{name}")
    done = call(verb("predict", run, files, "--format", "json"), status=1)
    answers = {row["path"]: row["text"] for row in json.loads(done.stdout)}
    assert {path: answers[path] for path in expected} == expected
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]  # not libtiff
    lines = {line.removeprefix("error: ").split(": ")[0] for line in said}
    assert lines == {str(files / name) for name in bad}
    (files / "folder.png").rmdir()
    section = dataclasses.replace(reader.config.data, dir=str(files))
    with pytest.raises(DataError, match=rf"^{len(bad) - 1} files in"):
        folder.load(section, None, 16)
    # A hundred thousand of them.
    many = work / "many"
    many.mkdir()
    for i in range(large):
        os.link(clean[i % 40], many / f"{clean[i % 40].stem}_{i}.png")
    done = call([sys.executable, "-c", _MANY, str(run), str(many)])
    megabytes, rows, wrong, images = map(int, done.stdout.split())
    assert (rows, images) == (large, large)
    assert wrong == 0
    return {
        "mutated files": read + refusals,
        "of these read": read,
        "refused": refusals,
        "clean ones among them, right": right,
        "bad files by the command": len(bad),
        "MB grown over the mutated files": grown // 1024,
        "files in one folder": rows,
        "MB at most for these": megabytes,
    }


_MANY = """
import os, resource, sys
from crnn_jax.cli import listing
from crnn_jax.data import folder as dataset
from crnn_jax.inference import recognizer
reader = recognizer.load(sys.argv[1])
known, rows, wrong = {}, 0, 0
paths = list(listing.expand([sys.argv[2]]))
for path, answer in zip(paths, reader.stream(iter(paths)), strict=True):
    rows += 1
    label = os.path.basename(path).split("_")[0]
    wrong += known.setdefault(label, answer.text) != answer.text
import dataclasses
data = dataset.load(dataclasses.replace(reader.config.data, dir=sys.argv[2]), None, 16)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, rows, wrong, len(data))
"""


def runs(work: Path, moments: random.Random, scale: float) -> dict[str, int]:
    count = int(50 * scale)
    data, run = captchas(work / "data"), work / "run"
    call(train_command(data, run))
    picture = next(data.glob("*.png"))
    read, refusals = runs_test.check_spoilt(run, picture, work, count, moments.getrandbits(32))
    return {"runs with a file spoilt": count, "calls answered": read, "calls refused": refusals}
