"""Scores a reader on captcha schemes that it was not trained on: exact match with zero labels.

    python studies/zero_labels.py general ../shared/data/schemes/*/ --out zero_labels.json

`general` is the reader of the package; a run directory works, too. The reader reads the test part
of each folder, as in experiments/schemes.py, and exact match is computed as labeled, case-folded,
and with look-alikes merged. Then it reads the images again with `Recognizer.form_of`, which finds
lengths and symbols in the images; and once more, given the symbols (in both cases) and the lengths
of the labels outside the test part, which a person can see in a few images.
`crnn-jax report runs/schemes` uses `runs/schemes/zero_labels.json` as 0 labels.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax

from crnn_jax import config as config_lib
from crnn_jax.data import folder, splits
from crnn_jax.errors import ConfigError
from crnn_jax.inference import held_out, metrics, recognizer
from crnn_jax.models import crnn
from crnn_jax.runs import provenance


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, or a reader of the package")
    parser.add_argument(
        "folders", metavar="FOLDER", nargs="+", help="a scheme: a folder of labeled images"
    )
    parser.add_argument(
        "--no-form", action="store_true", help="leave out the last reading, with the form given"
    )
    parser.add_argument("--out", metavar="FILE", help="write a JSON record to this file")
    options = parser.parse_args(arguments)
    reader = recognizer.load(options.run)
    schemes = {}
    print(
        "| scheme | images | as labeled | case-folded | look-alikes merged | form found "
        "| form given |"
    )
    print("|" + "---|" * 7)
    for path in map(Path, options.folders):
        schemes[path.name] = scheme = read(reader, path, not options.no_form)
        jax.clear_caches()  # of the decoders of this form; XLA's programs take memory maps
        print(f"| {path.name} | {scheme['num_examples']} {_cells(scheme['scores'])}|", flush=True)
    record = {
        "command": ["studies/zero_labels.py", *arguments],
        "reader": {
            "run": os.fspath(options.run),
            "epoch": reader.epoch,
            "params_sha256": crnn.params_sha256(reader.params),
            "fingerprint": reader.fingerprint,
            "alphabet": reader.charset.alphabet,
        },
        "schemes": schemes,
        "environment": provenance.here(str(device) for device in jax.devices()),
    }
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read(reader: recognizer.Recognizer, path: Path, with_form: bool = True) -> dict[str, Any]:
    """Returns the scores of a reader on the test part of a folder, and the form of its labels."""
    section = dataclasses.replace(
        reader.config.data,
        dir=os.fspath(path),
        source="folder",
        alphabet="",
        label_pattern="",
        use_labels=True,
        unlabeled="",
    )
    data = folder.load(section, None, config_lib.num_steps(reader.config))
    test = splits.held_out(data.texts, held_out.TEST_SIZE).tolist()
    files, truths = [data.files[i] for i in test], [data.texts[i] for i in test]
    paths = [path / file for file in files]
    readings = [reading.text for reading in reader.predict(paths)]
    scores = held_out.score(data.name, data.fingerprint, files, truths, readings)
    with contextlib.suppress(ConfigError):  # too few images are read to find the form
        found = [reading.text for reading in reader.predict(paths, reader.form_of(paths))]
        scores["scores"]["form_found"] = held_out.match(truths, found, "case_folded")
    known = [data.texts[i] for i in sorted(set(range(len(data))) - set(test))]
    alphabet, lengths = form(known)
    allowed = both_cases(alphabet, reader.charset.alphabet)
    if allowed and with_form:
        decoder = reader.decoder(length=lengths, allowed=allowed)
        readings = [reading.text for reading in reader.predict(paths, decoder)]
        scores["scores"]["form_given"] = held_out.match(truths, readings, "case_folded")
    return {
        **scores,
        "form": {"alphabet": alphabet, "lengths": lengths, "allowed": allowed},
    }


def form(texts: list[str]) -> tuple[str, tuple[int, int]]:
    """Returns the sorted symbols of labels, and the minimum and maximum length."""
    lengths = [len(text) for text in texts]
    return "".join(sorted(set("".join(texts)))), (min(lengths), max(lengths))


def both_cases(alphabet: str, known: str) -> str:
    """Returns the symbols of `known` that equal one of `alphabet` up to case, in their order."""
    folded = {symbol.casefold() for symbol in alphabet}
    return "".join(symbol for symbol in known if symbol.casefold() in folded)


def _cells(scores: held_out.Matches) -> str:
    cells, by_way = "", cast("Mapping[str, held_out.Match]", scores)
    for way in (*metrics.WAYS, "form_found", "form_given"):
        match = by_way.get(way)
        if match is None:
            cells += "| - "
        else:
            low, high = match["exact_match_95"]
            cells += f"| {match['exact_match']:.1%} [{low:.1%}, {high:.1%}] "
    return cells


if __name__ == "__main__":
    main(sys.argv[1:])
