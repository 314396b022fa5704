import numpy as np

from crnn_jax.training import samples
from crnn_jax.training.context import prepare
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET


def test_a_row_starts_with_the_picture_itself(tiny_config: MakeConfig) -> None:
    config = tiny_config(QUIET, augment__noise=0.1)
    context = prepare(config)
    sheet = np.asarray(samples.sheet(context))
    # Six rows of five images of 64x16, four pixels between them.
    assert sheet.shape == (6 * 20, 5 * 68)
    for row in range(6):
        picture = context.data.images[context.split.train[row], :, :, 0].T
        tiles = [sheet[row * 20 : row * 20 + 16, c * 68 : c * 68 + 64] for c in range(5)]
        np.testing.assert_array_equal(tiles[0], picture)
        # Each of the others has its own noise, with a standard deviation of at most a tenth of 255.
        assert len({tile.tobytes() for tile in tiles}) == 5
        assert all(0 < (tile - picture.astype(float)).std() < 26 for tile in tiles[1:])


def test_colour_stays_colour(tiny_config: MakeConfig) -> None:
    config = tiny_config(data__channels=3)
    assert samples.sheet(prepare(config)).mode == "RGB"
