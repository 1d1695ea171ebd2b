"""Targets: a chain of headers goes as the ledger goes; each rule refuses; the clock decides last."""

from dataclasses import replace

import pytest

from p2pai.chain import headers
from p2pai.chain.block import Header
from p2pai.chain.headers import meets_target
from p2pai.primitives.errors import InvalidBlock, InvalidMessage, Unavailable
from tests.chain.ledger import Chain, label

AT_GENESIS = Chain().state


@pytest.fixture(scope="module")
def chain():
    """A chain whose spacing varies, so that targets move."""
    made = Chain()
    for step in (6, 1, 1, 2, 2, 9, 1, 1, 1, 1, 1, 1, 15, 6):
        made.mine(time=max(made.state.times[-1] + step, made.state.median_time + 1))
    return made


def test_headers_alone_lead_to_what_the_ledger_says(chain):
    line = AT_GENESIS
    for block in chain.blocks:
        line = headers.extend(line, block.header, chain.params)
    state = chain.state
    assert (line.tip, line.height, line.times, line.anchor) == (
        state.tip,
        state.height,
        state.times,
        state.anchor,
    )
    assert len({block.header.bits for block in chain.blocks}) > 5
    assert headers.next_bits(line, chain.params) == headers.next_bits(state, chain.params)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda h: replace(h, version=2), "block version 2, expected 1"),
        (lambda h: replace(h, prev=label("x")), "does not follow"),
        (lambda h: replace(h, bits=h.bits - 1), "not the one due"),
        (lambda h: replace(h, time=AT_GENESIS.median_time), "not after the median"),
    ],
)
def test_each_rule_refuses(chain, spoil, reason):
    with pytest.raises(InvalidBlock, match=reason):
        headers.extend(AT_GENESIS, spoil(chain.blocks[0].header), chain.params)


def test_a_header_without_work_is_refused(chain):
    others = (replace(chain.blocks[0].header, nonce=label(i)) for i in range(64))
    idle = next(h for h in others if not meets_target(h))
    with pytest.raises(InvalidBlock, match="above the target"):
        headers.extend(AT_GENESIS, idle, chain.params)


def test_a_header_from_the_future_is_left_for_later(chain):
    header = chain.blocks[0].header
    headers.check_time(header, header.time - 7200, 7200)
    with pytest.raises(Unavailable, match="too far in the future"):
        headers.check_time(header, header.time - 7201, 7200)


def test_its_bytes_are_read_back(chain):
    for block in chain.blocks:
        assert Header.decode(block.header.encode()) == block.header
    with pytest.raises(InvalidMessage, match="a header of 171 bytes"):
        Header.decode(chain.blocks[0].header.encode()[1:])
