"""Products in bfloat16, float32 and float64 are the same integers, and a carrier that errs is not used."""

from typing import get_args

import jax
import numpy as np
import pytest

from p2pai.jaxtrain.exact import carrier
from p2pai.jaxtrain.exact.dot import dot

CARRIERS = get_args(carrier.Carrier)
PLAIN = ((1,), (0,))
MULTIPLY = jax.jit(carrier.multiply, static_argnums=(2, 3, 4))


def forget():
    """Forget what carriers were found to be, and what was compiled with them."""
    carrier.trusted.cache_clear()
    jax.clear_caches()


@pytest.fixture
def forgetful():
    """Forget before and after."""
    forget()
    yield
    forget()


def lie(monkeypatch, *dtypes):
    """Make products of these types wrong by one where they are large."""
    right = carrier._contract

    def contract(a, b, dimensions):
        product = right(a, b, dimensions)
        return product + (abs(product) > 1000) if str(a.dtype) in dtypes else product

    monkeypatch.setattr(carrier, "_contract", contract)
    forget()


def mantissas(seed, bits, *shape):
    most = 127 if bits == 7 else 1 << bits
    dice = np.random.default_rng(seed)
    drawn = dice.integers(-most, most + 1, shape)
    return np.where(dice.random(shape) < 0.3, dice.choice([-most, most], shape), drawn).astype(np.int32)


@pytest.mark.parametrize("name", CARRIERS)
def test_every_mantissa_times_every_extreme(name):
    left = np.arange(-8192, 8193, dtype=np.int32).reshape(-1, 1)
    right = np.array([[8192, -8192, 8191, 4096, 65, 64, 63, 1, 0, -1, -63, -64, -65]], np.int32)
    found = MULTIPLY(left, right, PLAIN, name, 13)
    assert np.array_equal(np.asarray(found).astype(np.int64), left.astype(np.int64) * right)


@pytest.mark.parametrize("bits", [7, 13])
@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 12, 5), (2, 1025, 2), (2, 2049, 3), (1, 4100, 1)])
def test_products_are_python_integers(shape, name, bits):
    rows, length, columns = shape
    left, right = mantissas(1, bits, rows, length), mantissas(2, bits, length, columns)
    found = MULTIPLY(left, right, PLAIN, name, bits)
    assert found.tolist() == (left.astype(object) @ right.astype(object)).tolist()


@pytest.mark.parametrize("dimensions", [((0,), (0,)), ((1,), (1,)), ((0,), (1,))])
@pytest.mark.parametrize("name", CARRIERS)
def test_any_axis_may_be_contracted(name, dimensions):
    left, right = mantissas(3, 13, 6, 6), mantissas(4, 13, 6, 6)
    a = left.T if dimensions[0] == (0,) else left
    b = right.T if dimensions[1] == (1,) else right
    assert (
        MULTIPLY(left, right, dimensions, name, 13).tolist() == (a.astype(object) @ b.astype(object)).tolist()
    )


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize(("bits", "most"), [(7, 127), (13, 8192), (13, 8128), (13, 8127), (13, 8191)])
def test_pieces_of_the_largest_mantissas_stay_exact(name, bits, most):
    """The largest themselves, and those with the largest limbs and sums of limbs."""
    length = 6000
    ones = np.full((2, length), most, np.int32) * np.array([[1], [-1]], np.int32)
    found = MULTIPLY(ones, ones.T, PLAIN, name, bits)
    assert found.tolist() == [[length * most**2, -length * most**2], [-length * most**2, length * most**2]]


@pytest.mark.parametrize("bits", [7, 13])
@pytest.mark.parametrize("name", CARRIERS)
def test_every_carrier_knows_the_answers(name, bits):
    assert carrier.trusted(name, bits)


FAST, PLAIN_CPU = frozenset({"avx512_bf16"}), frozenset({"avx2"})
CHOICES = [
    # carrier, platform, processor's instructions, bits, whether the product is large
    ("float64", "cpu", PLAIN_CPU, 13, False),
    ("float64", "cpu", PLAIN_CPU, 13, True),
    ("float32", "cpu", PLAIN_CPU, 7, False),
    ("float64", "cpu", FAST, 13, False),
    ("bfloat16", "cpu", FAST, 13, True),
    ("bfloat16", "cpu", FAST, 7, False),
    ("float64", "gpu", FAST, 13, False),
    ("bfloat16", "gpu", PLAIN_CPU, 13, True),
    ("bfloat16", "gpu", PLAIN_CPU, 7, False),
]


def chosen(monkeypatch, platform, instructions, bits, is_large):
    monkeypatch.setattr(carrier, "instructions", lambda: instructions)
    return carrier.choose(carrier.WORK_MIN - (not is_large), platform, bits)


@pytest.mark.parametrize(("name", "platform", "instructions", "bits", "is_large"), CHOICES)
def test_the_fastest_carrier_is_chosen(monkeypatch, name, platform, instructions, bits, is_large):
    assert chosen(monkeypatch, platform, instructions, bits, is_large) == name


@pytest.mark.parametrize(
    ("name", "platform", "instructions", "bits", "is_large"), [c for c in CHOICES if c[0] != "float64"]
)
def test_where_a_carrier_lies_float64_takes_over(
    forgetful, monkeypatch, name, platform, instructions, bits, is_large
):
    lie(monkeypatch, name)
    assert not carrier.trusted(name, bits)
    assert chosen(monkeypatch, platform, instructions, bits, is_large) == "float64"


def test_a_carrier_that_the_compiler_does_not_know_is_not_trusted(forgetful, monkeypatch):
    def contract(a, b, dimensions):
        raise NotImplementedError

    monkeypatch.setattr(carrier, "_contract", contract)
    forget()
    assert not carrier.trusted("float32", 7)


def test_training_on_a_carrier_that_lies_is_still_right(forgetful, monkeypatch):
    x, w = mantissas(5, 7, 4, 300).astype(np.float32), mantissas(6, 7, 300, 3).astype(np.float32)
    right = dot(x, w, 7)
    lie(monkeypatch, "float32", "bfloat16")
    assert np.array_equal(dot(x, w, 7), right)


@pytest.mark.parametrize("bits", [7, 13])
def test_where_float64_lies_too_nothing_is_trained(forgetful, monkeypatch, bits):
    lie(monkeypatch, *CARRIERS)
    x = np.full((4, 300), 0.99, np.float32)
    with pytest.raises(AssertionError, match="cannot train"):
        dot(x, x.T, bits)


def test_a_carrier_can_be_forced_for_a_while():
    with carrier.using("bfloat16"):
        assert carrier.choose(1, "cpu", 13) == "bfloat16"
        with carrier.using("float32"):
            assert carrier.choose(1, "cpu", 13) == "float32"
        assert carrier.choose(1, "cpu", 13) == "bfloat16"
    assert carrier.choose(1, "cpu", 13) == "float64"
