"""When the order of the images is renewed."""

from crnn_jax.labeling.plan import AHEAD, FIRST, Plan
from crnn_jax.labeling.pool import Pool


def test_the_order_is_renewed_when_many_more_images_are_read() -> None:
    """The first batch is of images that were read at 0.5. The later ones are less certain."""
    pool = Pool(400)
    first = pool.unread(FIRST)
    for number in first:
        pool.put(number, "ab", 0.5, 0)
    plan = Plan(pool, 0)
    plan.extend(0, [])
    planned = [shown.number for shown in plan.upcoming]
    assert len(planned) == AHEAD
    for number in set(range(400)) - set(first):
        pool.put(number, "ab", 0.125, 0)
    pool.is_done[planned] = True
    plan.drop_done()
    plan.extend(AHEAD, [])
    ordered = [shown.number for shown in plan.upcoming if not shown.drawn]
    assert set(pool.confidences[ordered].tolist()) == {0.125}
