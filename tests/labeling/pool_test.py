"""The readings of a folder while one reader replaces another."""

from crnn_jax.labeling.pool import Pool


def test_a_late_reading_of_an_old_reader_does_not_replace_a_newer_one() -> None:
    pool = Pool(2)
    pool.renew()
    pool.put(0, "new", 0.75, 1)
    pool.put(0, "old", 0.25, 0)
    assert (pool.texts[0], pool.confidences[0]) == ("new", 0.75)
    assert pool.is_current(0)


def test_a_few_readings_of_a_new_reader_do_not_order_the_images() -> None:
    """Confidences of two readers cannot be compared: all images, until the new one has enough."""
    pool = Pool(10)
    for number in range(10):
        pool.put(number, "a", 0.5, 0)
    pool.renew()
    pool.put(3, "a", 0.5, 1)
    assert pool.candidates(2).tolist() == list(range(10))
    pool.put(7, "a", 0.5, 1)
    assert pool.candidates(2).tolist() == [3, 7]
