"""This machine computes what every other one does, on what `p2pai doctor` asks it."""

from p2pai.jaxtrain import self_check


def test_the_device_trains_as_all_others_do():
    assert self_check.digest() == self_check.EXPECTED
