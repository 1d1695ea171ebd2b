"""Time and bytes of a committee's cryptography: draws, key generation, threshold signatures.

    python benchmarks/committee.py [--members 3,4,7,10,16,31] [--turns 5]

Key generation is timed as one member sees it (make the own deal, check all deals, open the own shares and add
them up) and as a node that only follows the chain does (check all deals, compute the public keys), with
t = ceil(2n/3) and nobody lying. Threshold signatures stand beside plain BLS ones by one key, the contenders
taking turns: "x" says how many times the plain one it takes. They are combined from t members chosen at
random; from members 1 to t it is quicker.

Every figure is the median of the turns, on one core; compare ratios rather than absolutes.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from p2pai.chain import dkg
from p2pai.chain.dkg import Deal
from p2pai.chain.params import quorum
from p2pai.primitives import bls, record
from p2pai.primitives import dkg as scalars
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsPublicKey, BlsSignature, Hash32, VrfPublicKey
from p2pai.vrf import ecvrf

MESSAGE = bytes(32)
PLAIN_SECRET = bytes(31) + b"\x07"
DRAWS = 200
SIGNATURES = 20


@dataclass(frozen=True)
class Committee:
    """Members whose keys follow from their number."""

    members: int
    threshold: int
    secrets: list[bytes]
    keys: list[VrfPublicKey]

    @classmethod
    def of(cls, members: int) -> "Committee":
        """Return the committee of so many members."""
        secrets = [bytes(number("secret", i)) for i in range(members)]
        return cls(members, quorum(members), secrets, [ecvrf.public_key(s) for s in secrets])

    def deal(self, dealer: int) -> Deal:
        """Make one dealer's deal."""
        return dkg.make_deal(number("seed", dealer), number("context", dealer), self.keys, self.threshold)

    def check(self, deals: dict[int, Deal]) -> None:
        """Check all deals as everyone does."""
        for dealer, deal in deals.items():
            dkg.check_deal(deal, number("context", dealer), self.keys, self.threshold)

    def share(self, deals: dict[int, Deal], member: int) -> bytes:
        """Return a member's share of the committee's key."""
        secret, shares = self.secrets[member - 1], {}
        for dealer, deal in deals.items():
            share = dkg.open_share(deal, number("context", dealer), secret, member)
            assert share is not None
            shares[dealer] = share
        return dkg.combine_share(shares, renewed=False)


def number(tag: str, value: int) -> Hash32:
    """Return 32 bytes that stand for a number."""
    return tagged_hash("p2pai/benchmark", tag.encode(), value.to_bytes(4, "big"))


def timed(act: Callable[[], object], turns: int, calls: int = 1) -> float:
    """Return the seconds of one call, the median of the turns."""
    return timed_together([act], turns, calls)[0]


def timed_together(acts: Sequence[Callable[[], object]], turns: int, calls: int) -> list[float]:
    """Return the seconds of one call of each, the medians of turns that they take one after another."""
    rounds = [[turn(act, calls) for act in acts] for _ in range(turns)]
    return [median(column) for column in zip(*rounds, strict=True)]


def turn(act: Callable[[], object], calls: int) -> float:
    """Return the seconds of one call of a turn."""
    began = time.perf_counter()
    for _ in range(calls):
        act()
    return (time.perf_counter() - began) / calls


def draws(turns: int) -> None:
    """Print draws proven and verified per second."""
    secret, alpha = number("secret", 0), number("alpha", 0)
    key, proof = ecvrf.public_key(secret), ecvrf.prove(secret, alpha)
    proven = timed(lambda: ecvrf.prove(secret, alpha), turns, DRAWS)
    verified = timed(lambda: ecvrf.verify(key, alpha, proof), turns, DRAWS)
    print(f"draws per second: {1 / proven:.0f} proven, {1 / verified:.0f} verified")


def generate(committee: Committee, turns: int) -> tuple[BlsPublicKey, dict[int, bytes]]:
    """Print one line on key generation; return the key and the shares."""
    deals = {i: committee.deal(i) for i in range(1, committee.members + 1)}
    make = timed(lambda: committee.deal(1), turns)
    check = timed(lambda: committee.check(deals), turns)
    opened = timed(lambda: committee.share(deals, 1), turns)
    keys = timed(lambda: dkg.public_keys(deals, committee.members, renewed=False), turns)
    size = len(record.encode(deals[1]))
    times = (make, check, opened, make + check + opened, keys, check + keys)
    cells = "".join(f"{1000 * seconds:>9.1f}" for seconds in times)
    print(f"{committee.members:>3}{committee.threshold:>4}{cells}{size:>8}{size * len(deals):>9}")
    key, _ = dkg.public_keys(deals, committee.members, renewed=False)
    return key, {i: committee.share(deals, i) for i in deals}


def sign(key: BlsPublicKey, shares: dict[int, bytes], turns: int) -> None:
    """Print one line on threshold signatures."""
    threshold = quorum(len(shares))
    chosen = sorted(random.Random(1).sample(list(shares), threshold))  # noqa: S311
    signatures: dict[int, BlsSignature] = {i: bls.sign(shares[i], MESSAGE) for i in chosen}
    signature, own = scalars.combine_signatures(signatures), shares[chosen[0]]
    public, part = bls.public_key(own), signatures[chosen[0]]
    plain = bls.sign(PLAIN_SECRET, MESSAGE)
    plain_key = bls.public_key(PLAIN_SECRET)
    acts: list[Callable[[], object]] = [
        lambda: bls.sign(PLAIN_SECRET, MESSAGE),
        lambda: bls.verify(plain_key, MESSAGE, plain),
        lambda: bls.sign(own, MESSAGE),
        lambda: bls.verify(public, MESSAGE, part),
        lambda: scalars.combine_signatures(signatures),
        lambda: bls.verify(key, MESSAGE, signature),
    ]
    sign_unit, verify_unit, *rest = timed_together(acts, turns, SIGNATURES)
    columns = zip(rest, (sign_unit, verify_unit, verify_unit, verify_unit), strict=True)
    cells = "".join(f"{1000 * seconds:>8.2f} {seconds / unit:>4.1f}x" for seconds, unit in columns)
    units = f"{1000 * sign_unit:>8.2f}{1000 * verify_unit:>8.2f}"
    print(f"{len(shares):>3}{threshold:>4}{units}{cells}")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--members", default="3,4,7,10,16,31")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    draws(options.turns)
    print("\nkey generation, milliseconds of one member and of a chain node, bytes of deals")
    heads = ("make", "check", "open", "member", "keys", "node")
    print("  n   t" + "".join(f"{head:>9}" for head in heads) + f"{'one':>8}{'all':>9}")
    committees = [Committee.of(int(members)) for members in options.members.split(",")]
    generated = [generate(committee, options.turns) for committee in committees]
    print("\nthreshold signature, milliseconds; x plain sign for a share's, x plain verify for the others")
    print("  n   t   plain  verify    sign share  verify share     combine t        verify")
    for key, shares in generated:
        sign(key, shares, options.turns)


if __name__ == "__main__":
    main()
