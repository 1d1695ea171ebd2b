"""`p2pai` with one thing changed, for tests: `python altered.py ALTERATION` and p2pai's arguments.

A node has no switch that turns a defence off. A test that attacks one has to show that it would fail without,
so here each is taken out by hand.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from p2pai.gossip import conduct, scores
from p2pai.gossip.admission import Limits
from p2pai.gossip.buckets import Rate
from p2pai.gossip.libp2p import flow, host, own_host, pubsub, reading, rpc, warden

ENDLESS = 1 << 40


def nothing(*_: object) -> None:
    """Do nothing."""


def soon_forgiven() -> None:
    """Ban for a few seconds, so that a test can wait for the end of it."""
    scores.BAN_S = 3


def without_bans() -> None:
    """Blame and never ban."""
    scores.BANNED_AT = scores.IGNORED_AT = scores.UNWANTED_AT = -ENDLESS


def without_rates() -> None:
    """Let everybody send as much as he likes."""
    conduct.REMOTE_RATE = conduct.BYTES_RATE = Rate(ENDLESS, ENDLESS)


def without_windows() -> None:
    """Keep what remotes send beyond their windows, as the library does."""
    flow.apply = nothing


def without_patience() -> None:
    """Wait for ever for those who don't write, and don't read."""
    reading.FRAME_S_MIN = host.STALL_S = float(ENDLESS)
    warden.Warden.give_up = nothing


def without_bound_on_topics() -> None:
    """Remember every topic that a remote names."""
    pubsub.TOPICS_MAX = ENDLESS
    rpc.SUBSCRIPTION_TOKENS = 0


def without_doorman() -> None:
    """Take every connection."""
    rate = Rate(ENDLESS, ENDLESS)
    limits = Limits(ENDLESS, ENDLESS, ENDLESS, ENDLESS, ENDLESS, ENDLESS, rate, rate)
    made = own_host.OwnHost.__init__
    own_host.OwnHost.__init__ = lambda self, *parts, **named: made(self, *parts, **named, limits=limits)


ALTERATIONS: dict[str, Callable[[], None]] = {
    change.__name__: change
    for change in (
        soon_forgiven, without_bans, without_rates, without_windows, without_patience,
        without_bound_on_topics, without_doorman,
    )
}  # fmt: skip

if __name__ == "__main__":
    from p2pai.cli.main import main

    ALTERATIONS[sys.argv.pop(1)]()
    main()
