"""Targets: any k shards restore a fragment, their bytes follow from the fragment alone, lies are found."""

from hashlib import sha256
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyeclib.ec_iface import ECDriver

from p2pai.chain.training import ReedSolomon
from p2pai.jaxtrain import erasure
from p2pai.primitives.errors import InvalidMessage

SCHEMES = [ReedSolomon(k, h) for k in range(1, 6) for h in range(1, 6)]


def fragment(sizes, seed=0):
    """Mini-batches of these sizes."""
    return tuple(Random(f"{seed} {i}").randbytes(size) for i, size in enumerate(sizes))


BATCHES = fragment((1_934, 1_934, 1_934, 777))


def chosen(shards, indices):
    return {index: shards[index] for index in indices}


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_any_k_shards_restore(scheme):
    shards = erasure.split(BATCHES, scheme)
    assert len(shards) == scheme.shards
    for indices in combinations(range(scheme.shards), scheme.data):
        assert erasure.restore(chosen(shards, indices), scheme) == BATCHES


@pytest.mark.parametrize("scheme", [ReedSolomon(11, 5), ReedSolomon(6, 10), ReedSolomon(8, 8)], ids=str)
def test_so_they_do_for_the_largest_groups(scheme):
    batches = fragment((301, 5))
    shards = erasure.split(batches, scheme)
    for indices in combinations(range(scheme.shards), scheme.data):
        assert erasure.restore(chosen(shards, indices), scheme) == batches


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.sampled_from(SCHEMES), st.data())
def test_fragments_of_any_sizes_come_back(sizes, scheme, data):
    batches = fragment(sizes)
    shards = erasure.split(batches, scheme)
    indices = data.draw(st.permutations(range(scheme.shards)))[: scheme.data]
    assert erasure.restore(chosen(shards, indices), scheme) == batches


def test_a_fragment_of_several_stripes_comes_back():
    scheme, batches = ReedSolomon(2, 1), fragment((1 << 20, 1 << 20, 1 << 20, 999))
    shards = erasure.split(batches, scheme)
    assert [len(block) for block in shards[0]] == [1 << 20, 524_796]
    for indices in combinations(range(3), 2):
        assert erasure.restore(chosen(shards, indices), scheme) == batches


def test_more_shards_than_it_takes_do_no_harm():
    scheme = ReedSolomon(2, 3)
    shards = erasure.split(BATCHES, scheme)
    assert erasure.restore(dict(enumerate(shards)), scheme) == BATCHES


def test_redundancy_is_what_the_paper_says():
    size = sum(map(len, BATCHES))
    stored = sum(len(block) for shard in erasure.split(BATCHES, ReedSolomon(2, 2)) for block in shard)
    assert size <= stored / 2 < 1.01 * size


class TestBytes:
    def test_data_shards_are_the_stream_itself(self):
        shards = erasure.split((b"one", b"three"), ReedSolomon(2, 1))
        assert b"".join(shards[0] + shards[1]) == b"\x03\0\0\0one\x05\0\0\0three"
        assert shards[2] == (bytes(a ^ b for a, b in zip(shards[0][0], shards[1][0], strict=True)),)

    @pytest.mark.parametrize("scheme", SCHEMES, ids=str)
    def test_they_are_what_the_field_gives(self, scheme):
        shards = erasure.split(fragment((60, 7)), scheme)
        words = [[int.from_bytes(s[0][i : i + 2], "little") for i in range(0, len(s[0]), 2)] for s in shards]
        for row, parity in zip(parity_matrix(scheme), words[scheme.data :], strict=True):
            wanted = [dot(row, column) for column in zip(*words[: scheme.data], strict=True)]
            assert parity == wanted

    def test_fixed_values(self):
        shards = erasure.split(BATCHES, ReedSolomon(3, 2))
        digests = [sha256(b"".join(shard)).hexdigest()[:16] for shard in shards]
        assert digests == [
            "8c78ee0fb07423b2",
            "44e70748591e5346",
            "6ddf1c824b7decf1",
            "ef78f26c9a2804f0",
            "ce95177773fd4dba",
        ]

    def test_they_do_not_depend_on_the_librarys_settings(self, monkeypatch):
        scheme = ReedSolomon(3, 2)
        wanted = erasure.split(BATCHES, scheme)
        for checksum in ("inline_crc32", "none"):
            driver = ECDriver(k=3, m=2, ec_type=erasure.BACKEND, chksum_type=checksum)
            monkeypatch.setattr(erasure, "_driver", lambda _, driver=driver: driver)
            assert erasure.split(BATCHES, scheme) == wanted

    def test_they_are_the_same_each_time(self):
        assert erasure.split(BATCHES, ReedSolomon(4, 4)) == erasure.split(BATCHES, ReedSolomon(4, 4))


class TestLies:
    SCHEME = ReedSolomon(2, 2)

    @given(st.integers(0, 3), st.integers(0, 3_000), st.integers(1, 255), st.integers(0, 5))
    def test_a_corrupted_shard_never_gives_the_fragment(self, wrong, place, change, choice):
        shards = erasure.split(BATCHES, self.SCHEME)
        block = bytearray(shards[wrong][0])
        block[place] ^= change
        shards[wrong] = (bytes(block),)
        indices = list(combinations(range(4), 2))[choice]
        try:
            found = erasure.restore(chosen(shards, indices), self.SCHEME)
        except InvalidMessage:
            assert wrong in indices
            return
        # The padding may be what was changed, and then nothing is lost.
        assert (found == BATCHES) == (wrong not in indices)

    @given(
        st.lists(st.lists(st.binary(max_size=20), max_size=3).map(tuple), min_size=4, max_size=4),
        st.integers(0, 5),
    )
    def test_any_bytes_give_a_fragment_or_invalid_message(self, shards, choice):
        indices = list(combinations(range(4), 2))[choice]
        try:
            erasure.restore(chosen(shards, indices), self.SCHEME)
        except InvalidMessage:
            return

    def test_shards_of_two_lengths(self):
        shards = erasure.split(BATCHES, self.SCHEME)
        with pytest.raises(InvalidMessage, match="length"):
            erasure.restore({0: shards[0], 2: (shards[2][0][:-2],)}, self.SCHEME)

    @pytest.mark.parametrize(
        ("stream", "reason"),
        [
            (b"\x09\0\0\0short\0\0\0", "impossible length"),
            (b"\x01\0\0\0aXYZ\1\1\1\1", "impossible length"),
            (b"\x01\0\0\0a\0\0\0\0\0\1\0", "more than"),
            (b"\x03\0\0\0abcX", "more than"),
        ],
    )
    def test_what_no_fragment_gives(self, stream, reason):
        half = len(stream) // 2
        with pytest.raises(InvalidMessage, match=reason):
            erasure.restore({0: (stream[:half],), 1: (stream[half:],)}, self.SCHEME)


# --- the field, number by number


def times(a, b):
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a, b = a << 1, b >> 1
        a ^= 0x1100B if a >> 16 else 0
    return product


def power(a, exponent):
    result = 1
    for _ in range(exponent):
        result = times(result, a)
    return result


def inverse(a):
    result, square, exponent = 1, a, (1 << 16) - 2
    while exponent:
        result = times(result, square) if exponent & 1 else result
        square, exponent = times(square, square), exponent >> 1
    return result


def dot(row, column):
    total = 0
    for a, b in zip(row, column, strict=True):
        total ^= times(a, b)
    return total


def invert(matrix):
    size = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for c in range(size):
        pivot = next(r for r in range(c, size) if rows[r][c])
        rows[c], rows[pivot] = rows[pivot], rows[c]
        scale = inverse(rows[c][c])
        rows[c] = [times(scale, x) for x in rows[c]]
        for r in range(size):
            if r != c:
                rows[r] = [x ^ times(rows[r][c], y) for x, y in zip(rows[r], rows[c], strict=True)]
    return [row[size:] for row in rows]


def parity_matrix(scheme):
    """As the module's docstring says it."""
    points = [[power(i, j) for j in range(scheme.data)] for i in range(scheme.shards)]
    columns = list(zip(*invert(points[: scheme.data]), strict=True))
    parity = [[dot(row, column) for column in columns] for row in points[scheme.data :]]
    scales = [inverse(x) for x in parity[0]]
    return [[times(x, scale) for x, scale in zip(row, scales, strict=True)] for row in parity]
