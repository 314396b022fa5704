"""Mutations of the JSON and CSV files of a run, and every reader of records on the mutated run."""

from __future__ import annotations

import collections
import csv
import io
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from crnn_jax import errors
from crnn_jax.analysis import html_report, label_audit, plots, sweep_report, sweep_runs
from crnn_jax.errors import CrnnError
from crnn_jax.inference import exported, recognizer
from crnn_jax.runs import grid
from crnn_jax.runs.checkpoint import Checkpoints
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.schema import InvalidError
from crnn_jax.training import reproduce
from tests.faults.commands import call, captchas, train_command, verb

_DEEP = "a list within 100,000 lists"  # inserted as text, because json cannot write it
_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 10**9, 10**30, 10**400, 1e308, 1e-320, -0.5),
    *(math.nan, math.inf, -math.inf, "", "x", "1", "a" * 20_000, "\ud800", "\udcff", "../../x"),
    *("<script>alert(1)</script>", "![x](http://x.y)", "\x1b[31m\nx\u202e", "\0", _DEEP),
    *([], {}, [[]], {"a": 1}, [1] * 1000, [None], {"\x1b\n": {"\ud800": 1}}),
)
META = "_CHECKPOINT_METADATA"  # Orbax's file, with the metadata of a checkpoint
EXPORT = ("reader.json", "model.safetensors")


def mutate(rng: random.Random, name: str, content: bytes) -> bytes:
    """Returns a file with one or several faults in its values or bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(8)
        if kind > 1 and name.endswith(".csv"):
            content = _mutate_table(rng, content)
        elif kind > 1 and name.endswith(".safetensors"):
            size = int.from_bytes(content[:8], "little")
            header = _mutate_json(rng, content[8 : 8 + size])
            content = len(header).to_bytes(8, "little") + header + content[8 + size :]
        elif kind > 1 and name.endswith(".jsonl"):
            lines = content.splitlines(keepends=True)
            if lines:
                place = rng.randrange(len(lines))
                lines[place] = _mutate_json(rng, lines[place]) + b"\n"
            content = b"".join(lines)
        elif kind > 1:
            content = _mutate_json(rng, content)
        elif kind == 1 and content:
            data = bytearray(content)
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            content = bytes(data)
        else:
            content = content[: rng.randrange(len(content) + 1)]
    return content


def _mutate_json(rng: random.Random, content: bytes) -> bytes:
    """Replaces, removes or adds one value. Content that is not JSON is returned unchanged."""
    try:
        values = json.loads(content.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return content
    places = list(_places(values, ()))
    if not places:
        return content
    *path, last = rng.choice(places)
    inner = values
    for key in path:
        inner = inner[key]
    if rng.randrange(5) == 0:
        del inner[last]
    elif rng.randrange(6) == 0 and isinstance(inner, dict):
        inner[rng.choice(("x", "\x1b[31m", "\ud800", "a" * 5000))] = rng.choice(_VALUES)
    else:
        inner[last] = rng.choice(_VALUES)
    text = json.dumps(values).replace(json.dumps(_DEEP), "[" * 100_000 + "]" * 100_000)
    return text.encode()


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The paths of all values within `value`; for long lists, only of the first items."""
    keys = value if isinstance(value, dict) else range(min(len(value), 20))
    for key in keys if isinstance(value, (dict, list)) else ():
        yield (*path, key)
        if isinstance(value[key], (dict, list)) and len(path) < 8:
            yield from _places(value[key], (*path, key))


def _mutate_table(rng: random.Random, content: bytes) -> bytes:
    text = content.decode(errors="surrogateescape")
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return content
    if not rows:
        return content
    row = rng.choice((rows[0], rng.choice(rows), rng.choice(rows)))
    values = ("", "x", "nan", "inf", "1e999", "-1", "9" * 5000, "\0", "a\nb", '"', "\udcff",
              "a" * 200_000, "1,2", "../x", "\x1b[31m")  # fmt: skip
    match rng.randrange(4):
        case 0 if row:
            del row[rng.randrange(len(row))]
        case 1:
            row.append(rng.choice(values))
        case 2:
            rows.append(row)
        case _ if row:
            row[rng.randrange(len(row))] = rng.choice(values)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode(errors="surrogateescape")


class Runs:
    """A grid of two runs; the files of one are mutated in turn."""

    def __init__(self, run: Path, folder: Path, export: Path | None = None):
        self.folder = folder
        self.cell = folder / "grid" / "base" / "seed0-fold0"
        self.other = folder / "grid" / "base" / "seed1-fold0"
        for cell in (self.cell, self.other):
            shutil.copytree(run, cell)
        self.export = folder / "export"
        if export:
            shutil.copytree(export, self.export)
        names = ("config.json", "environment.json", "result.json", "checkpoints.json",
                 "metrics.jsonl", "readings.csv", "errors.csv")  # fmt: skip
        best = json.loads((run / "result.json").read_text())["best_epoch"]
        self.files = [self.cell / name for name in names]
        self.files += [self.cell / "checkpoints" / str(best) / META]
        self.files += [self.export / name for name in EXPORT if export]
        self.valid = {path: path.read_bytes() for path in self.files}

    def light(self) -> dict[str, Callable[[], object]]:
        """Returns the readers that take milliseconds."""
        record = RunDir(self.cell)
        return {
            "report": self._report,
            "audit": lambda: label_audit.rank(self.cell.parent),
            "config": record.config,
            "result": record.result,
            "environment": record.environment,
            "metrics": record.metrics_lines,
            "epochs": record.epochs,
            "folder": lambda: label_audit.data_of(self.cell),
            "page": lambda: html_report._record(record),
            "grid": lambda: _grid(record.read_json("config.json")),
            "reproduce": lambda: reproduce.prepare(self.cell, self.folder / "new", None),
            "compare": lambda: str(reproduce.compare(record, RunDir(self.other))),
        }

    def imports(self) -> dict[str, Callable[[], object]]:
        reader, arrays = (self.export / name for name in EXPORT)
        return {
            "description": lambda: exported.parse(reader.read_bytes(), "it"),
            "arrays": lambda: exported._check_header(arrays.read_bytes()),
        }

    def _report(self) -> str:
        runs = sweep_runs.read_grid(self.folder / "grid")
        text = sweep_report.to_markdown(runs, sweep_report.table(runs))
        assert "nan" not in text, text
        assert "<script" not in text, text
        assert "](http" not in text.replace("\\]", ""), text
        return text


def _grid(values: dict[str, Any]) -> list[grid.Cell]:
    section = {
        "variants": {"base": {}, **{str(k): v for k, v in values.items() if isinstance(v, dict)}},
        "seeds": [0, values.get("seed")],
        "folds": values.get("data", [0]),
    }
    assert isinstance(grid.from_dict({**values, "grid": section}), grid.Grid)
    return grid.from_dict({**values, "grid": {**section, "folds": [0]}}).cells()


def check(call: Callable[[], object]) -> bool:
    """Returns whether a reader succeeded. AssertionError for errors not meant for users."""
    try:
        answer = call()
    except (CrnnError, InvalidError) as error:
        _check_message(error)
        return False
    if isinstance(answer, recognizer.Recognizer):
        assert 0.1 <= answer.temperature <= 10
    return True


def _check_message(error: Exception) -> None:
    """Checks that a message is one line of bounded length that a terminal prints literally."""
    message = str(error)
    assert "\n" not in message, repr(message[:1000])
    assert len(message) < 5000, message[:1000]
    shown = errors.for_terminal(error)
    assert all(c.isprintable() or "\ud800" <= c <= "\udfff" for c in shown), repr(shown)


def sweep(runs: Runs, rng: random.Random, count: int, heavy: int) -> collections.Counter[str]:
    """Reads `count` mutations with all fast readers, and every `heavy`-th also with the slow ones.

    The arrays of checkpoints are not restored.
    """
    found: collections.Counter[str] = collections.Counter()
    for number in range(count):
        path = runs.files[number % len(runs.files)]
        path.write_bytes(mutate(rng, path.name, runs.valid[path]))
        if path.parent == runs.export:
            calls = runs.imports()
        elif path.name in (META, "checkpoints.json"):
            calls = {}
        else:
            calls = runs.light()
        if path.parent != runs.export and number // len(runs.files) % heavy == 0:
            calls["load"] = lambda: recognizer.load(runs.cell)
            if path.name == "metrics.jsonl":
                calls["curves"] = lambda: plots.curves(RunDir(runs.cell).epochs())
        for name, reader in calls.items():
            try:
                found["answers" if check(reader) else "refusals"] += 1
            except Exception as error:
                kept = runs.folder / f"failed-{number}-{path.name}"
                kept.write_bytes(path.read_bytes())
                raise AssertionError(f"{name} of {kept}: {error!r:.2000}") from error
        path.write_bytes(runs.valid[path])
    return found


def _zeros(_: Checkpoints, __: int, like: Mapping[str, Any]) -> dict[str, Any]:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(like))


class unrestored:
    """Within the context, checkpoints are opened and checked, but their arrays are not read."""

    def __enter__(self) -> None:
        self._restore = Checkpoints.restore
        Checkpoints.restore = _zeros  # type: ignore[method-assign, assignment]

    def __exit__(self, *_: object) -> None:
        Checkpoints.restore = self._restore  # type: ignore[method-assign]


def records(work: Path, moments: random.Random, scale: float) -> dict[str, int]:
    """A part of the long run: 20,000 mutations, spread over the files of a run and an export."""
    count = int(20_000 * scale)
    data, run = captchas(work / "data"), work / "run"
    call(train_command(data, run))
    call(verb("export", run, "--format", "safetensors"))
    export = work / "export"
    shutil.move(run / "export" / "safetensors", export)
    shutil.rmtree(run / "export")
    with unrestored():
        found = sweep(Runs(run, work / "runs", export), moments, count, heavy=20)
    return {"mutations of records": count, **found}
