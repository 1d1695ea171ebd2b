"""Between two epochs a miner waits until a majority has ended the one before.

Source: PoUW §4.3 (a miner that ends an epoch early waits for the majority).
"""

from p2pai.chain.course import Place
from p2pai.primitives.ids import Outpoint
from p2pai.roles.history import TaskHistory


def is_open(history: TaskHistory, place: Place, iteration: int, gone: tuple[Outpoint, ...]) -> bool:
    """Return whether a miner may begin an iteration.

    Args:
      history: of the task.
      place: of the miner, which has ended all iterations before.
      iteration: one that the miner has.
      gone: miners of whom it is known that they left: nobody waits for them.
    """
    turn = place.turn(iteration)
    assert turn is not None
    if turn.number == 1 or iteration != turn.first:
        return True
    miners = [t for t in place.roster.at(turn.number) if t not in gone]
    done = sum(t == place.ticket or _has_ended(history, place, t, turn.number) for t in miners)
    return 2 * done > len(miners)


def _has_ended(history: TaskHistory, place: Place, ticket: Outpoint, epoch: int) -> bool:
    """Return whether a miner has done all its iterations of the epochs before one."""
    latest = history.latest.get(ticket)
    count = place.roster.iterations_before(place.plan, ticket, epoch)
    return ticket in history.models or (latest.iteration + 1 if latest else 0) >= count
