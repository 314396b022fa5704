"""The study of the labeling order, on small images with a short training."""

import json
from pathlib import Path

import pytest

import crnn_jax
from crnn_jax.data import splits
from crnn_jax.inference import metrics
from studies import labeling
from tests.helpers.images import draw
from tests.labeling.adapting_test import SHORT

# With the same symbols and size of images, the reader goes on reading what it reads.
CHANGES = {**SHORT, "data.complete_alphabet": False, "data.width": 64}


@pytest.mark.long
def test_both_arms_are_labeled_trained_and_scored(trained: Path, tmp_path: Path) -> None:
    scheme = tmp_path / "scheme"
    scheme.mkdir()
    texts = [f"{a}{b}{c}" for a in "abc7" for b in "abc7" for c in "ab"]
    for text in texts:
        draw(text).save(scheme / f"{text}.png")
    arguments = f"{scheme} --reader {trained} --workdir {tmp_path}/work --out {tmp_path}/out.json"
    arguments_of_study = [*arguments.split(), "--seeds", "1", "--labels", "4", "8"]
    labeling.main(arguments_of_study, CHANGES)

    record = json.loads((tmp_path / "out.json").read_text())
    cells = {(cell["arm"], cell["labels"]): cell for cell in record["cells"]}
    assert list(cells) == [("ordered", 4), ("ordered", 8), ("random", 4), ("random", 8)]
    names = sorted(f"{text}.png" for text in texts)
    test = [names[i] for i in splits.held_out([name[:-4] for name in names], 500)]
    assert len(test) == len(texts) // 3
    chosen: dict[str, set[str]] = {"ordered": set(), "random": set()}
    for (arm, count), cell in cells.items():
        work = tmp_path / "work" / "scheme" / "seed0" / arm
        rows = (work / f"labels-{count:04}" / "labels.csv").read_text().split()[1:]
        found = dict(row.strip('"').split('","') for row in rows)
        assert len(found) == count
        assert all(file == f"{label}.png" for file, label in found.items())
        assert not set(found) & set(test)
        assert chosen[arm] < set(found)
        chosen[arm] = set(found)
        reader = crnn_jax.load(work / f"reader-{count:04}")
        readings = reader.predict([scheme / name for name in test])
        pairs = [(name[:-4], r.text) for name, r in zip(test, readings, strict=True)]
        assert cell["labeled"] == metrics.exact_matches(pairs).as_labeled
        assert cell["num_examples"] == len(test)
    # The estimate beside the truth: one of four entries is a draw of the first reader.
    assert cells["ordered", 4]["estimate"]["drawn"] == 1
    assert cells["ordered", 4]["rest"] == len(texts) - len(test) - 4
    labeling.main(arguments_of_study, CHANGES)  # nothing is trained again
    assert json.loads((tmp_path / "out.json").read_text())["cells"] == record["cells"]
    assert all(cell["labeled"] for cell in record["cells"])
    assert "| scheme | 4 |" in labeling.table(record["cells"])


def test_the_table_has_means_and_ranges_over_seeds() -> None:
    cells = [
        {"scheme": "s", "labels": 25, "arm": arm, "labeled": right, "num_examples": 200}
        for arm, right in (("ordered", 100), ("ordered", 110), ("random", 50))
    ]
    assert labeling.table(cells).splitlines()[2] == (
        "| s | 25 | 52.5 [50.0 ... 55.0] | 25.0 [25.0 ... 25.0] |"
    )
