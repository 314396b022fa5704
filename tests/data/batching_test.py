"""Batches of indices, and the order of an epoch."""

import numpy as np

from crnn_jax.data import batching


def test_batches_hold_each_example_once_and_mask_the_rest() -> None:
    batches = list(batching.batches(np.arange(5, 15), 4))
    assert [indices.shape for indices, _ in batches] == [(4,)] * 3
    assert np.concatenate([i[m] for i, m in batches]).tolist() == list(range(5, 15))
    assert batches[-1][1].tolist() == [True, True, False, False]


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    train = np.arange(100)
    orders = {
        (seed, epoch): tuple(batching.epoch_order(train, seed, epoch))
        for seed in (0, 1)
        for epoch in (1, 2)
    }
    assert len(set(orders.values())) == 4
    assert orders[1, 2] == tuple(batching.epoch_order(train, 1, 2))
    assert all(sorted(order) == list(range(100)) for order in orders.values())


def test_a_quarter_of_an_epoch_has_labels() -> None:
    labeled, guessed = np.arange(3, dtype=np.int32), np.arange(10, 50, dtype=np.int32)
    order = batching.mixed_order(labeled, guessed, 32, 0, 2)
    assert len(order) == 32
    counts = np.bincount(order, minlength=50)
    assert counts[:3].sum() == 8  # 3 + 3 + 2
    assert counts[:3].max() == 3
    assert counts[10:].sum() == 24
    assert counts[10:].max() == 1
    assert np.bincount(batching.mixed_order(labeled, guessed[:0], 32, 0, 1)).tolist() in (
        [11, 11, 10], [11, 10, 11], [10, 11, 11]
    )  # fmt: skip
    only = batching.mixed_order(labeled[:0], guessed, 80, 0, 1)
    assert np.bincount(only)[10:].tolist() == [2] * 40
    np.testing.assert_array_equal(order, batching.mixed_order(labeled, guessed, 32, 0, 2))
    assert order.tolist() != batching.mixed_order(labeled, guessed, 32, 0, 3).tolist()


def test_few_pseudo_labels_do_not_push_many_labels_out() -> None:
    labeled, guessed = np.arange(90, dtype=np.int32), np.arange(100, 110, dtype=np.int32)
    counts = np.bincount(batching.mixed_order(labeled, guessed, 200, 0, 1))
    assert (counts[:90].sum(), counts[100:].sum()) == (180, 20)


def test_images_with_and_without_labels_are_mixed() -> None:
    """The first half of an epoch would have 50 labeled images by chance once in 10^29 orders."""
    order = batching.mixed_order(np.arange(50), np.arange(50, 100), 100, 0, 1)
    assert order[:50].min() < 50 <= order[:50].max()


def test_other_images_are_repeated_in_each_epoch() -> None:
    """Of three labeled images, four are used, so one is used twice: each of them, in 12 epochs."""
    labeled, guessed = np.arange(3), np.arange(3, 13)
    orders = [batching.mixed_order(labeled, guessed, 16, 0, epoch) for epoch in range(1, 13)]
    counts = [np.bincount(order)[:3] for order in orders]
    assert {tuple(sorted(count)) for count in counts} == {(1, 1, 2)}
    assert {int(count.argmax()) for count in counts} == {0, 1, 2}
