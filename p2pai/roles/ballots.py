"""Ballots on the order of a slot's messages: made from the order of arrival, signed, checked and counted.

A ballot ranks the slot's ids, ascending, by their positions, one byte each. Miners' messages come as the
network brings them, but a miner's own stand in the order of its iterations: everybody knows that one, so a
ballot against it is invalid. All ballots agreeing on that, so does Schulze's order (it is Pareto efficient).

A ballot is signed, so that the leader can show others what it counted, and can neither forge nor alter one.

Source: PoUW §4.3; PROTOCOL section 6; docs/adr/0019-slots-by-two-votes.md.
"""

from collections.abc import Iterable, Sequence

from p2pai.chain import schulze
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint
from p2pai.roles.slots import Place, Ranking

Turn = tuple[Outpoint, int]
"""Whose message, and of which iteration."""


def rank(arrived: Sequence[Hash32], turns: Sequence[Turn]) -> bytes:
    """Return the order of messages by their positions among the ascending ids.

    Args:
      arrived: ids in order of arrival.
      turns: of the ids, ascending.
    """
    positions = {identifier: p for p, identifier in enumerate(sorted(arrived))}
    in_turn: dict[Outpoint, list[int]] = {}
    for position in sorted(range(len(turns)), key=lambda p: turns[p][1]):
        in_turn.setdefault(turns[position][0], []).append(position)
    places = (turns[positions[identifier]][0] for identifier in arrived)
    return bytes(in_turn[miner].pop(0) for miner in places)


def check(order: bytes, turns: Sequence[Turn]) -> None:
    """Check an order of messages.

    Raises:
      InvalidMessage: it is no permutation, or ranks a miner's messages against their iterations.
    """
    schulze.check_ballot(order, len(turns))
    latest: dict[Outpoint, int] = {}
    for position in order:
        miner, iteration = turns[position]
        if iteration <= latest.get(miner, -1):
            raise InvalidMessage("a ballot ranks a miner's messages against their iterations")
        latest[miner] = iteration


def digest(place: Place, candidates: Hash32, member: int, order: bytes) -> Hash32:
    """Return what a member signs."""
    number = member.to_bytes(8, "little")
    return tagged_hash("p2pai/ballot", record.encode(place), candidates, number, order)


def count(candidates: Sequence[Hash32], rankings: Iterable[Ranking]) -> tuple[Hash32, ...]:
    """Return the order that checked ballots give the ascending ids."""
    return schulze.rank(candidates, [ranking.order for ranking in rankings])
