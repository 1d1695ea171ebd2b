"""Pooling: largest values and means, and where their gradients go."""

from functools import partial

import exact_oracle as oracle
import numpy as np
import pytest
from tensors import CASES, NORMAL_CASES, check, compiled, tensor

from p2pai.jaxtrain.exact.pool import average_pool, max_pool

FORMS = [(2, 2), (2, 1), (3, 2), (1, 1), (2, 3), (4, 1)]
"""Sizes and strides: apart, overlapping, with gaps, and one window for all."""

MAX = {form: partial(lambda x, form: max_pool(x, *form), form=form) for form in FORMS}
AVERAGE = {form: partial(lambda x, form: average_pool(x, *form), form=form) for form in FORMS}


def drawn(case, size, stride):
    count = [(n - size) // stride + 1 for n in (4, 5)]
    return (tensor(case, 1, 2, 4, 5, 2),), tensor("spread", 2, 2, *count, 2)


@pytest.mark.parametrize("form", FORMS)
def test_largest_values_are_the_oracles(form):
    check(MAX[form], lambda x: oracle.max_pool(x, *form), *drawn("plain", *form))


@pytest.mark.parametrize(("size", "stride"), [(12, 1), (16, 16), (32, 5)])
@pytest.mark.parametrize("operation", ["max", "average"])
def test_windows_of_very_many_places(operation, size, stride):
    """Up to 32 x 32: more places than a byte numbers."""
    found, wanted = {"max": (max_pool, oracle.max_pool), "average": (average_pool, oracle.average_pool)}[
        operation
    ]
    x = tensor("plain", 5, 1, size + 1, size, 1)
    x[0, size - 1, size - 1] = 9  # the last place of the first window
    count = 2 if stride == 1 else 1
    dy = tensor("plain", 6, 1, count, 1, 1)
    check(partial(lambda v: found(v, size, stride)), lambda v: wanted(v, size, stride), (x,), dy)


@pytest.mark.parametrize("case", NORMAL_CASES)
def test_largest_of_awkward_values(case):
    check(MAX[2, 1], lambda x: oracle.max_pool(x, 2, 1), *drawn(case, 2, 1))


@pytest.mark.parametrize("form", FORMS)
def test_means_are_the_oracles(form):
    check(AVERAGE[form], lambda x: oracle.average_pool(x, *form), *drawn("plain", *form))


@pytest.mark.parametrize("case", CASES)
def test_means_of_awkward_values(case):
    check(AVERAGE[3, 2], lambda x: oracle.average_pool(x, 3, 2), *drawn(case, 3, 2))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("operation", ["max", "average"])
def test_awkward_gradients(case, operation):
    found = {"max": MAX, "average": AVERAGE}[operation][2, 1]
    wanted = {"max": oracle.max_pool, "average": oracle.average_pool}[operation]
    x, dy = tensor("plain", 3, 2, 4, 5, 2), tensor(case, 4, 2, 3, 4, 2)
    check(found, lambda v: wanted(v, 2, 1), (x,), dy)


def test_on_ties_the_first_takes_the_gradient_row_by_row():
    x = np.float32([[1, 5], [5, 5]]).reshape(1, 2, 2, 1)
    _, (dx,) = compiled(MAX[2, 1])((x,), np.ones((1, 1, 1, 1), np.float32))
    assert dx.ravel().tolist() == [0, 1, 0, 0]
