"""Targets: Bitcoin's compact form bit by bit, and ASERT against Decred's nine published scenarios."""

import hashlib
import json
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.difficulty import decode_bits, encode_bits, next_bits, work
from p2pai.primitives.errors import InvalidBlock

PUBLISHED = Path(__file__).parents[3] / "shared/vectors"
COMPACT = PUBLISHED / "bitcoin/compact_target.json"
ASERT = PUBLISHED / "decred/asert_test_vectors.json"
RETARGET = PUBLISHED / "bitcoin/retarget.json"
HEADERS = PUBLISHED / "bitcoin/blockheaders-mainnet-1-11.txt"
RETARGET_VECTORS = json.loads(RETARGET.read_text()) if RETARGET.exists() else {"vectors": []}
HEADERS_MINED = HEADERS.read_text().split() if HEADERS.exists() else []
COMPACT_VECTORS = json.loads(COMPACT.read_text())["vectors"] if COMPACT.exists() else []
ASERT_VECTORS = json.loads(ASERT.read_text()) if ASERT.exists() else {"scenarios": [], "params": {}}

LIMIT = 0x1D00FFFF
targets = st.integers(0, 255).flatmap(lambda n: st.integers(2**n, 2 ** (n + 1) - 1))


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        (0x1D00FFFF, 0xFFFF << 208),  # the Bitcoin genesis block
        (0x1B0404CB, 0x0404CB << 192),  # Bitcoin wiki, "Difficulty"
        (0x05009234, 0x92340000),
        (0x04123456, 0x12345600),
        (0x01123456, 0x12),
        (0x20123456, 0x123456 << 232),
        (0x207FFFFF, 0x7FFFFF << 232),
    ],
)
def test_known_targets(bits, target):
    assert decode_bits(bits) == target


@pytest.mark.parametrize("vector", COMPACT_VECTORS, ids=lambda v: v.get("compact", "encode"))
def test_published_compact_target(vector):
    if "encode_only" in vector:
        assert encode_bits(int(vector["encode_only"], 16)) == int(vector["reencoded"], 16)
        return
    bits, value = int(vector["compact"], 16), int(vector["value"] or "0", 16)
    rule = refusal(vector, value)
    if rule:
        with pytest.raises(InvalidBlock, match=rule):
            decode_bits(bits)
        return
    assert decode_bits(bits) == value
    assert encode_bits(value) == int(vector["reencoded"], 16)


def refusal(vector, value):
    """Return why a header with a published form must be refused: Bitcoin has values for the first two."""
    if value == 0 and not vector["overflow"]:
        return "zero"
    return "negative" if vector["negative"] else "256 bits" if vector["overflow"] else ""


@pytest.mark.parametrize("vector", RETARGET_VECTORS["vectors"], ids=lambda v: v["name"])
def test_published_target_times_a_ratio(vector):
    """Bitcoin's own retarget, which we do not have, rounds as our compact form does."""
    ideal, clamp = RETARGET_VECTORS["target_timespan_s"], RETARGET_VECTORS["clamp"]
    actual = min(max(vector["last_time_s"] - vector["first_time_s"], ideal // clamp), ideal * clamp)
    limit = int(RETARGET_VECTORS["pow_limit"], 16)
    target = min(decode_bits(int(vector["bits"], 16)) * actual // ideal, limit)
    assert encode_bits(target) == int(vector["expected_bits"], 16)


@pytest.mark.parametrize("header", HEADERS_MINED, ids=lambda h: h[8:16])
def test_published_header_meets_its_target(header):
    data = bytes.fromhex(header)
    target = decode_bits(int.from_bytes(data[72:76], "little"))
    digest = hashlib.sha256(hashlib.sha256(data).digest()).digest()
    assert int.from_bytes(digest, "little") <= target


@pytest.mark.parametrize(
    ("bits", "rule"),
    [
        (0, "zero"),
        (0x03000000, "zero"),
        (0x01003456, "zero"),
        (0x01803456, "zero"),
        (0x04923456, "negative"),
        (0x01FEDCBA, "negative"),
        (0xFF123456, "256 bits"),
        (0x23000001, "256 bits"),
        (0x22000100, "256 bits"),
        (0x21010000, "256 bits"),
        (2**32, "32 bits"),
        (-1, "32 bits"),
    ],
)
def test_nonsense_bits_are_refused(bits, rule):
    with pytest.raises(InvalidBlock, match=rule):
        decode_bits(bits)
    with pytest.raises(InvalidBlock, match=rule):
        next_bits(bits, 0, 0, 6, 120, LIMIT)
    with pytest.raises(InvalidBlock, match=rule):
        next_bits(LIMIT, 0, 0, 6, 120, bits)


def test_the_largest_forms_that_fit():
    assert decode_bits(0x220000FF) == 0xFF << 248
    assert decode_bits(0x2100FFFF) == 0xFFFF << 240


@given(targets)
def test_encoding_rounds_down_by_less_than_one_part_in_2_to_15(target):
    bits = encode_bits(target)
    rounded = decode_bits(bits)
    assert rounded <= target
    assert (target - rounded) << 15 < target
    assert encode_bits(rounded) == bits


@given(targets, targets)
def test_encoding_keeps_order(left, right):
    if left <= right:
        assert decode_bits(encode_bits(left)) <= decode_bits(encode_bits(right))


@given(st.integers(0, 2**32 - 1))
def test_any_bits_are_refused_or_a_target(bits):
    try:
        target = decode_bits(bits)
    except InvalidBlock:
        return
    assert 0 < target < 2**256
    assert decode_bits(encode_bits(target)) == target


@pytest.mark.parametrize("target", [0, -1, 2**256])
def test_a_target_out_of_range_is_our_own_fault(target):
    for act in (encode_bits, work):
        with pytest.raises(AssertionError):
            act(target)


def test_work_of_known_targets():
    assert work(decode_bits(0x1D00FFFF)) == 0x100010001  # Bitcoin Core, chain work of the genesis block
    assert work(2**255 - 1) == 2
    assert work(2**256 - 1) == 1
    assert work(1) == 2**255


@pytest.mark.parametrize("scenario", ASERT_VECTORS["scenarios"], ids=lambda s: s["description"])
def test_published_asert_scenario(scenario):
    params = ASERT_VECTORS["params"][scenario["params"]]
    assert scenario["tests"]
    for case in scenario["tests"]:
        got = next_bits(
            scenario["startDiffBits"],
            case["timestamp"] - scenario["startTime"],
            case["height"] - scenario["startHeight"],
            params["targetSecsPerBlock"],
            params["halfLifeSecs"],
            params["powLimitBits"],
        )
        assert got == case["expectedDiffBits"], case


@pytest.mark.skipif(not ASERT.exists(), reason="published vectors are not here")
def test_all_published_scenarios_are_here():
    assert len(ASERT_VECTORS["scenarios"]) == 9
    assert len(COMPACT_VECTORS) == 21
    assert len(RETARGET_VECTORS["vectors"]) == 4
    assert len(HEADERS_MINED) == 11


@pytest.mark.parametrize(
    ("time_delta_s", "height_delta", "expected"),
    [(591, 1, 453027436), (631, 2, 453027259), (86342, 288, 453027199)],
)
def test_a_few_published_figures(time_delta_s, height_delta, expected):
    # Source: decred/dcrd, blockchain/standalone, ASERT vectors: random solve times, stable hashrate.
    assert next_bits(453027238, time_delta_s, height_delta, 300, 43200, LIMIT) == expected


@pytest.mark.parametrize("half_lives", range(-20, 21))
def test_each_half_life_is_a_factor_of_two(half_lives):
    anchor = decode_bits(0x1B00A5A6)
    got = decode_bits(next_bits(0x1B00A5A6, 1000 * 6 + half_lives * 120, 1000, 6, 120, 0x207FFFFF))
    expected = anchor << half_lives if half_lives >= 0 else anchor >> -half_lives
    assert got == decode_bits(encode_bits(expected))


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**4))
def test_asert_follows_the_exponential_to_a_part_in_4000(time_delta_s, height_delta):
    spacing_s, half_life_s, anchor_bits = 60, 3600, 0x1A7FFFFF
    got = decode_bits(next_bits(anchor_bits, time_delta_s, height_delta, spacing_s, half_life_s, 0x207FFFFF))
    with localcontext() as context:
        context.prec = 100
        exponent = Decimal(time_delta_s - height_delta * spacing_s) / half_life_s
        exact = decode_bits(anchor_bits) * Decimal(2) ** exponent
        exact = min(max(exact, 1), decode_bits(0x207FFFFF))
        if exact > 2**16:
            assert abs(got - exact) / exact < Decimal(1) / 4000


@given(st.integers(-(10**7), 10**7), st.integers(0, 10**5))
def test_later_is_never_harder(time_delta_s, height_delta):
    earlier = decode_bits(next_bits(LIMIT, time_delta_s, height_delta, 6, 120, 0x207FFFFF))
    later = decode_bits(next_bits(LIMIT, time_delta_s + 1, height_delta, 6, 120, 0x207FFFFF))
    assert earlier <= later


@pytest.mark.parametrize("time_delta_s", [2**32, 2**63, 2**63 * 1000])
def test_absurd_times_end_at_the_limits_at_once(time_delta_s):
    assert next_bits(0x1B00A5A6, time_delta_s, 0, 6, 1, LIMIT) == LIMIT
    assert next_bits(0x1B00A5A6, -time_delta_s, 0, 6, 1, LIMIT) == 0x01010000


def test_parameters_that_make_no_sense_are_our_own_fault():
    for height, spacing, half_life in ((-1, 6, 120), (0, 0, 120), (0, 6, 0)):
        with pytest.raises(AssertionError):
            next_bits(LIMIT, 0, height, spacing, half_life, LIMIT)
