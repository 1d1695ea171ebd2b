"""Targets: shapes, weights and costs of every layer; and each bound of exact arithmetic, on its edge."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import layers
from p2pai.chain.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Function,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Padding,
    Part,
    check,
    check_exact,
    place,
    product_count,
    statistics_of,
    weights_of,
)
from p2pai.primitives.errors import InvalidTransaction

RELU = Activation(Function.RELU)
VALID, SAME = Padding.VALID, Padding.SAME
IMAGE = (8, 6, 3)


def output(shape, *network):
    return place(shape, network)[-1].output


def refused(call, *arguments, match):
    with pytest.raises(InvalidTransaction, match=match):
        call(*arguments)


class TestShapes:
    @pytest.mark.parametrize(
        ("layer", "shape"),
        [
            (Conv(5, 3, 3, 1, VALID), (6, 4, 5)),
            (Conv(5, 3, 2, 2, VALID), (3, 3, 5)),
            (Conv(5, 8, 6, 1, VALID), (1, 1, 5)),
            (Conv(5, 3, 3, 1, SAME), (8, 6, 5)),
            (Conv(5, 3, 3, 4, SAME), (2, 2, 5)),
            (Conv(5, 9, 9, 1, SAME), (8, 6, 5)),
            (MaxPool(2, 2), (4, 3, 3)),
            (MaxPool(3, 2), (3, 2, 3)),
            (AveragePool(6, 1), (3, 1, 3)),
            (BatchNorm(0), IMAGE),
            (LayerNorm(), IMAGE),
            (Dropout(9), IMAGE),
            (RELU, IMAGE),
            (LeakyRelu(655), IMAGE),
            (Flatten(), (144,)),
        ],
        ids=str,
    )
    def test_of_an_image(self, layer, shape):
        assert output(IMAGE, layer) == shape

    def test_of_features(self):
        assert output((7,), Dense(4)) == (4,)
        assert output((7,), Flatten()) == (7,)
        assert output((7,), LayerNorm(), BatchNorm(1), Dropout(0), RELU) == (7,)

    @given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9))
    def test_windows_fill_an_image_and_one_more_would_not_fit(self, length, side, stride):
        if side > length:
            refused(place, (length, length, 1), [MaxPool(side, stride)], match="larger than the image")
            return
        count = output((length, length, 1), MaxPool(side, stride))[0]
        assert (count - 1) * stride + side <= length < count * stride + side

    @pytest.mark.parametrize(
        ("shape", "network", "said"),
        [
            (IMAGE, [Dense(4)], r"layer 0 \(Dense\): its input is an image; put Flatten"),
            ((7,), [Conv(1, 1, 1, 1, SAME)], r"layer 0 \(Conv\): its input is not an image"),
            ((7,), [MaxPool(1, 1)], r"layer 0 \(MaxPool\): its input is not an image"),
            ((7,), [RELU, AveragePool(1, 1)], r"layer 1 \(AveragePool\): its input is not"),
            (IMAGE, [Conv(1, 3, 7, 1, VALID)], "the window is larger than the image"),
            (IMAGE, [AveragePool(7, 1)], "the window is larger than the image"),
            ((7,), [Add(0)], "no such earlier layer"),
            ((7,), [RELU, Add(1)], "no such earlier layer"),
            ((7,), [RELU, Dense(8), Add(0)], "the two shapes differ"),
        ],
    )
    def test_that_do_not_fit_are_refused_by_the_layers_name(self, shape, network, said):
        refused(place, shape, network, match=said)

    def test_an_earlier_output_can_be_added(self):
        assert output((7,), Dense(7), RELU, Dense(7), Add(0)) == (7,)


class TestWeights:
    def test_stand_in_canonical_order(self):
        network = [Conv(4, 3, 2, 1, VALID), BatchNorm(0), RELU, Flatten(), Dense(5), LayerNorm()]
        found = weights_of(place(IMAGE, network))
        assert [(w.name, w.shape) for w in found] == [
            ("layer0/kernel", (3, 2, 3, 4)),
            ("layer0/bias", (4,)),
            ("layer1/scale", (4,)),
            ("layer1/bias", (4,)),
            ("layer4/kernel", (120, 5)),
            ("layer4/bias", (5,)),
            ("layer5/scale", (5,)),
            ("layer5/bias", (5,)),
        ]
        assert [(w.fan_in, w.fan_out) for w in found if w.part is Part.KERNEL] == [(18, 24), (120, 5)]
        assert all(w.fan_in == w.fan_out == 0 for w in found if w.part is not Part.KERNEL)

    def test_of_what_has_none(self):
        network = [MaxPool(1, 1), AveragePool(1, 1), Dropout(1), RELU, LeakyRelu(1), Flatten()]
        assert weights_of(place(IMAGE, network)) == ()

    def test_statistics_are_a_mean_and_a_variance_of_each_batch_normalisation(self):
        network = [BatchNorm(0), Flatten(), LayerNorm(), Dense(5), BatchNorm(9)]
        assert statistics_of(place(IMAGE, network)) == ((3,), (3,), (5,), (5,))

    def test_products_are_counted(self):
        network = [Conv(4, 3, 2, 1, VALID), RELU, Flatten(), Dense(5)]
        assert product_count(place(IMAGE, network)) == 18 * (6 * 5 * 4) + 120 * 5


class TestRules:
    def test_a_good_network_passes(self):
        check(IMAGE, [Conv(4, 3, 3, 1, SAME), BatchNorm(65_535), RELU, MaxPool(2, 2), Flatten(), Dense(9)])

    @pytest.mark.parametrize(
        "layer",
        [
            Dense(0), Dense(65_537), Dropout(63_489), BatchNorm(65_536), LeakyRelu(65_536),
        ],
        ids=str,
    )  # fmt: skip
    def test_numbers_out_of_range_are_refused(self, layer):
        refused(check, (4,), [layer], match=r"layer 0 \(\w+\): a number is out of range")

    @pytest.mark.parametrize("change", ["filters", "height", "width", "stride"])
    def test_of_a_convolution_too(self, change):
        good = Conv(1, 1, 1, 1, SAME)
        limits = {"filters": layers.UNITS_MAX, "stride": layers.STRIDE_MAX}
        most = limits.get(change, layers.KERNEL_SIDE_MAX)
        check((1, 1, 1), [replace(good, **{change: most})])
        for wrong in (0, most + 1):
            refused(check, (1, 1, 1), [replace(good, **{change: wrong})], match="out of range")

    def test_what_a_compiler_has_to_unroll_is_limited(self):
        conv, pool = Conv(1, 16, 15, 1, SAME), MaxPool(8, 1)
        check((40, 40, 1), [conv, conv, pool, pool])  # 2 * 240 + 2 * 16
        refused(
            check,
            (40, 40, 1),
            [conv, conv, pool, pool, MaxPool(1, 1)],
            match="514 places in all, at most 512",
        )

    @pytest.mark.parametrize("kind", [MaxPool, AveragePool])
    def test_of_a_pool_too(self, kind):
        check((32, 32, 1), [kind(32, 32)])
        for wrong in (kind(0, 1), kind(1, 0), kind(33, 1), kind(1, 33)):
            refused(check, (40, 40, 1), [wrong], match="out of range")

    @pytest.mark.parametrize(
        "layer", [Dense(65_536), Dropout(63_488), BatchNorm(65_535), LeakyRelu(65_535)], ids=str
    )
    def test_numbers_at_their_edge_pass(self, layer):
        check((4,), [layer])

    def test_layers_are_1_to_128(self):
        check((4,), [RELU] * 128)
        refused(check, (4,), [], match="1 to 128 layers")
        refused(check, (4,), [RELU] * 129, match="1 to 128 layers")

    @pytest.mark.parametrize("shape", [(), (4, 4), (1, 1, 1, 1)])
    def test_a_sample_is_features_or_an_image(self, shape):
        refused(check, shape, [RELU], match="a sample is")

    @pytest.mark.parametrize("shape", [(0,), (65_537,), (4, 0, 1), (4, 4, 65_537)])
    def test_a_samples_size_is_in_range(self, shape):
        refused(check, shape, [RELU], match="size of a sample")

    def test_weights_are_at_most_2_to_the_24(self):
        check((4_095,), [Dense(4_096)])  # 4096 weights of each unit, bias included
        refused(check, (4_096,), [Dense(4_096)], match="16,781,312 weights, at most 16,777,216")

    def test_only_what_is_before_the_previous_layer_is_added_and_once(self):
        check((4,), [RELU, RELU, Add(0), RELU, Add(2)])
        refused(check, (4,), [RELU, Add(0)], match="before the previous one")
        refused(check, (4,), [RELU, RELU, Add(5)], match="before the previous one")
        refused(check, (4,), [RELU, RELU, Add(0), RELU, Add(0)], match="added at most once")


class TestExactBounds:
    """Each bound of docs/EXACT.md that a shape can break, where it just holds and where it just does not."""

    def test_products_in_one_sum(self, monkeypatch):
        monkeypatch.setattr(layers, "PRODUCT_LENGTH_MAX", 64)
        check_exact((64,), [Dense(1)], 1)
        refused(
            check_exact, (65,), [Dense(1)], 1, match=r"layer 0 \(Dense\) sums products: 65, .* carries 64"
        )
        check_exact((4, 4, 4), [Conv(1, 4, 4, 1, VALID)], 1)
        refused(check_exact, (4, 5, 4), [Conv(1, 4, 5, 1, VALID)], 1, match="sums products: 80")

    def test_no_shape_within_the_other_limits_sums_too_many_products(self):
        largest = layers.KERNEL_SIDE_MAX**2 * layers.UNITS_MAX
        assert largest <= layers.PRODUCT_LENGTH_MAX == 1 << 26

    def test_rows_of_a_weights_gradient(self):
        conv = Conv(1, 1, 1, 1, SAME)
        check_exact((256, 256, 1), [conv], 1 << 10)  # 2^26 rows
        refused(
            check_exact,
            (256, 257, 1),
            [conv],
            1 << 10,
            match="a weight's gradient: 67,371,008, .* 67,108,864",
        )

    def test_rows_of_a_biass_gradient(self, monkeypatch):
        monkeypatch.setattr(layers, "SUM_LENGTH_MAX", 100)
        check_exact((10, 10, 1), [Conv(1, 1, 1, 1, SAME)], 1)
        refused(
            check_exact, (10, 10, 1), [Conv(1, 1, 1, 1, SAME)], 2, match="a bias's gradients: 200, .* 100"
        )
        assert 1 << 26 <= 1 << 28  # rows of a product are bounded more tightly already

    @pytest.mark.parametrize("norm", [BatchNorm(0), LayerNorm()], ids=str)
    def test_rows_of_a_normalisation(self, norm):
        check_exact((8, 8, 2), [norm], 4096)  # 2^18 rows
        refused(
            check_exact, (8, 9, 2), [norm], 4096, match="a scale's gradients: 294,912, .* carries 262,144"
        )
        check_exact((65_536,), [norm], 1024)
        check_exact((16_384,), [norm], 4096)

    def test_a_row_of_a_layer_normalisation_is_never_too_long(self):
        assert layers.UNITS_MAX <= layers.NORM_LENGTH_MAX

    def test_values_of_a_batch(self):
        check_exact((16_384,), [RELU], 4096)  # 2^26
        refused(
            check_exact, (16_385,), [RELU], 4096, match="67,112,960 values in a batch, at most 67,108,864"
        )
        check_exact((16_384,), [RELU, RELU], 2048)
        refused(check_exact, (16_384,), [RELU] * 3, 2048, match="values in a batch")

    def test_products_of_a_batch(self):
        check_exact((8_192,), [Dense(8_192)], 4096)  # 2^38
        refused(
            check_exact, (8_193,), [Dense(8_192)], 4096,
            match=r"274,911,461,376 products in a batch, at most 274,877,906,944",
        )  # fmt: skip

    def test_the_bounds_are_those_of_the_arithmetic(self):
        """Squares of 22 bits in 62, addends of 24 and products of 26 in 52."""
        assert layers.NORM_LENGTH_MAX << 44 == 1 << 62
        assert layers.SUM_LENGTH_MAX << 24 == 1 << 52
        assert layers.PRODUCT_LENGTH_MAX << 26 == 1 << 52
        assert (1 << 24) * ((1 << 40) // (65_536 - layers.DROPOUT_RATE_Q16_MAX)) <= 1 << 53

    def test_a_layer_is_named_for_a_person(self):
        assert layers.title(3, Conv(1, 1, 1, 1, SAME)) == "layer 3 (Conv)"
