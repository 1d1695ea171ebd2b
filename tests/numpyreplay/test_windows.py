"""Windows, margins, and that gathering is the transpose of sliding."""

import numpy as np
import pytest

from p2pai.chain.layers import Conv, Padding, place
from p2pai.numpyreplay.windows import Window, gather, margins, slide

DICE = np.random.default_rng(4)


@pytest.mark.parametrize("window", [Window(2, 2, 2), Window(3, 1, 2), Window(1, 2, 3), Window(4, 5, 1)])
def test_gather_returns_each_value_to_where_it_came_from(window):
    images = DICE.integers(-9, 9, (2, 6, 5, 3))
    slid = slide(images, window)
    assert slid[1, 0, 0, 0, 0].tolist() == images[1, 0, 0].tolist()
    parts = DICE.integers(-9, 9, slid.shape)
    assert (slid * parts).sum() == (images * gather(parts, images.shape, window)).sum()


@pytest.mark.parametrize("height", range(1, 9))
@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_same_padding_gives_the_shapes_of_the_definition(height, size, stride):
    layer = Conv(2, size, 1, stride, Padding.SAME)
    (placed,) = place((height, 4, 1), (layer,))
    around = margins(layer, placed.input)
    padded = np.pad(np.ones((1, *placed.input)), ((0, 0), *around, (0, 0)))
    assert slide(padded, Window(size, 1, stride)).shape[1:3] == placed.output[:2]
    assert around[0][1] - around[0][0] in (0, 1)
