"""Two histories that differ in anything have two digests."""

import pytest

from p2pai import effects, events, jobs
from p2pai.effects import Verdict
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, PeerId
from testnet.simulator.trace import Trace

A, B = PeerId("a"), PeerId("b")
OTHER = Hash32(bytes([1] * 32))


def digest(*happened):
    trace = Trace()
    for one in happened:
        if isinstance(one, events.Event):
            trace.hear(7, "n", one)
        else:
            trace.add(one)
    return trace.hexdigest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (effects.Publish("ab", b"c"), effects.Publish("a", b"bc")),
        (effects.Persist(1, b"2"), effects.Persist(12, b"")),
        (effects.PutBlob((b"a", b"bc"), shared=True), effects.PutBlob((b"ab", b"c"), shared=True)),
        (effects.Judge(Verdict.IGNORE, "x"), effects.Judge(Verdict.IGNORE, "y")),
        (effects.Answer(1, b""), effects.Answer(2, b"")),
        (events.Received(A, "t", b"1"), events.Received(B, "t", b"1")),
        (events.Received(A, "t", b"1"), events.Received(A, "t", b"11")),
        (events.Asked(1, A, b""), events.Asked(1, B, b"")),
        (events.Answered(1, A, b""), events.Answered(1, A, None)),
        (events.TimerFired("x"), events.TimerFired("y")),
        (events.Persisted(1), events.Persisted(2)),
        (events.Trained(ZERO_HASH, jobs.Failed("x")), events.Trained(ZERO_HASH, jobs.Failed("y"))),
        (events.Fetched(BlobId(ZERO_HASH), None, None), events.Fetched(BlobId(OTHER), None, None)),
        (events.Started((b"a",)), events.Started((b"b",))),
        (events.Started((), b"a"), events.Started((), None, (b"a",))),
        (events.Started((b"", b"a")), events.Started((b"a", b""))),
    ],
)
def test_what_differs_is_told_apart(one, other):
    assert digest(one) == digest(one) != digest(other)


def test_order_counts():
    one, other = effects.Publish("a", b"b"), effects.Publish("c", b"d")
    assert digest(one, other) != digest(other, one)
