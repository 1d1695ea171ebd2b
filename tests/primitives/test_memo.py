"""Results are kept when told, for equal arguments, so many, and never what was raised."""

import pytest

from p2pai.primitives import bls, ecdsa, memo
from p2pai.primitives.errors import InvalidProof
from p2pai.primitives.memo import Same, pure, shared
from testnet.simulator.metering import metered


class Counted:
    """A function that counts its calls."""

    def __init__(self, **options):
        self.calls = []
        self.function = pure(**options)(self.square)

    def square(self, number, *, offset=0):
        self.calls.append(number)
        if number < 0:
            raise ValueError(number)
        return number * number + offset

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def test_nothing_is_kept_unless_told():
    counted = Counted()
    assert [counted(3), counted(3)] == [9, 9]
    assert counted.calls == [3, 3]


def test_equal_arguments_are_computed_once():
    counted = Counted()
    with shared():
        assert [counted(3), counted(3), counted(4)] == [9, 9, 16]
    assert counted.calls == [3, 4]
    counted(3)
    assert counted.calls == [3, 4, 3]


def test_each_time_begins_with_nothing():
    counted = Counted()
    for _ in range(2):
        with shared():
            counted(3)
    assert counted.calls == [3, 3]


def test_sharing_can_be_interrupted():
    counted = Counted()
    with shared():
        counted(3)
        with shared(is_on=False):
            counted(3)
            counted(3)
        counted(3)
        counted(3)
    assert counted.calls == [3, 3, 3, 3]


def test_the_oldest_makes_room():
    counted = Counted(results_max=2)
    with shared():
        for number in (1, 2, 1, 3, 2, 1):
            assert counted(number) == number * number
    assert counted.calls == [1, 2, 3, 1]


def test_what_is_raised_is_raised_each_time():
    counted = Counted()
    with shared():
        for _ in range(2):
            with pytest.raises(ValueError, match="-1"):
                counted(-1)
    assert counted.calls == [-1, -1]


def test_a_function_without_a_key_is_kept_for_positional_arguments_alone():
    counted = Counted()
    with shared():
        assert [counted(2, offset=1), counted(2, offset=2), counted(2)] == [5, 6, 4]
    assert counted.calls == [2, 2, 2]


def test_a_key_says_what_counts():
    counted = Counted(key=lambda number, *, offset=0: None if offset == 7 else (number % 10, offset))
    with shared():
        assert [counted(2), counted(12), counted(2, offset=1), counted(2, offset=7)] == [4, 4, 5, 11]
        assert counted(2, offset=7) == 11
    assert counted.calls == [2, 2, 2, 2]


def test_an_object_is_the_same_as_itself_alone():
    one, other = [1], [1]
    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(other)
    assert Same(one) != one


def test_a_patch_is_not_hidden(monkeypatch):
    """A defence that a simulation takes away is away, though it was needed a moment before."""
    key = bls.public_key(bytes([0] * 31 + [5]))
    signature = bls.sign(bytes([0] * 31 + [5]), b"message")
    with memo.shared():
        bls.verify(key, b"message", signature)
        monkeypatch.setattr(bls, "_g1", lambda _: (_ for _ in ()).throw(InvalidProof("patched")))
    with memo.shared(), pytest.raises(InvalidProof, match="patched"):
        bls.verify(key, b"message", signature)
    monkeypatch.setattr(bls, "verify", lambda *_: "anything goes")
    with memo.shared():
        assert bls.verify(key, b"other", signature) == "anything goes"


def test_what_follows_from_a_result_is_known():
    counted, asked = Counted(), []
    known = pure()(lambda number: asked.append(number))

    def follow(result, number):
        memo.know(known, "known", result)
        memo.know(len, "never", number)  # not a function that was marked

    square = pure(then=follow)(counted.square)
    square(3)
    assert known(9) is None
    with shared():
        square(3)
        assert known(9) == "known"
        assert known(4) is None
    assert asked == [9, 4]


@pytest.mark.parametrize("scheme", [bls, ecdsa])
def test_what_was_signed_here_is_not_verified_here(scheme):
    secret, digest, other = bytes([0] * 31 + [5]), bytes(32), bytes([1] * 32)
    key = scheme.public_key(secret)
    with shared():
        signature = scheme.sign(secret, digest)
        scheme.verify(key, digest, signature)
        for wrong in ((key, other, signature), (key, digest, scheme.sign(secret, other))):
            with pytest.raises(InvalidProof):
                scheme.verify(*wrong)


def test_what_is_known_is_known_to_those_who_count(monkeypatch):
    asked = []
    with metered() as meter, shared():
        monkeypatch.setattr(ecdsa, "_point", lambda key: asked.append(key))
        secret, digest = bytes([0] * 31 + [5]), bytes(32)
        ecdsa.verify(ecdsa.public_key(secret), digest, ecdsa.sign(secret, digest))
        assert (meter.count, asked) == (1, [])
