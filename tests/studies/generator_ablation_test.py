"""Parts that the generator ablation leaves out, seen in the images."""

from __future__ import annotations

import numpy as np
import pytest

from crnn_jax.data.synthetic.wide.family import Wide
from crnn_jax.inference.held_out import Match
from studies import generator_ablation
from studies.generator_ablation import VARIANTS, config_of


def _drawn(variant: str) -> tuple[np.ndarray, np.ndarray]:
    with VARIANTS[variant].without():
        images, ids = Wide().drawer()(0, np.arange(16))
        return np.asarray(images, np.int32), np.asarray(ids)


@pytest.mark.long
def test_the_texts_stay_and_the_part_goes() -> None:
    whole, texts = _drawn("whole")
    for variant in ("no_clutter", "no_color", "no_warps", "no_camera"):
        images, ids = _drawn(variant)
        np.testing.assert_array_equal(ids, texts)
        assert (images != whole).any()
        if variant == "no_color":
            assert np.ptp(images, axis=-1).max() == 0
    again, _ = _drawn("whole")
    np.testing.assert_array_equal(again, whole)


def test_all_variants_make_the_same_number_of_updates() -> None:
    steps = set()
    for variant in VARIANTS.values():
        config = config_of(variant, "wide", 1024, 3)
        training = config.data.count - round(config.data.val_fraction * config.data.count - 0.5)
        steps.add(training // config.train.batch_size * config.train.epochs)
    assert steps == {1024 // 64 * 3}


def test_schemes_without_a_form_count_as_read_one_by_one() -> None:
    def match(share: float) -> Match:
        return {"num_exact": 0, "exact_match": share, "exact_match_95": [0.0, 1.0]}

    first = {"labeled": match(0.1), "case_folded": match(0.2), "form_found": match(0.5)}
    second = {"labeled": match(0.2), "case_folded": match(0.3)}
    line = {"generated": 0.4, "schemes": {"a": first, "b": second}}
    row = generator_ablation.table({"whole": line}).splitlines()[-1]
    assert row == "| whole | 40.0 | 15.0 | 25.0 | 40.0 |"
