"""What a ticket costs: the demand moves the price so that the number of tickets comes back to its target.

Every `ticket_window_blocks` the price is multiplied by two ratios: the change of the pool since the last
window, against which it pushes, and the pool's distance from the target, to which it pulls:

    price' = price * (pool / pool before) * (pool / target)

in integers, multiplied before divided. Above, it is bounded by the price at which all coins there are would
buy the target; below, by the least price, which has the last word.

Source: DCP-0001 and its reference in dcrd (calcNextRequiredStakeDifficultyV2); PoUW §3.3; PROTOCOL section 4.
"""

from dataclasses import replace

from p2pai.chain.params import Params
from p2pai.chain.state import State
from p2pai.primitives.ids import Amount


def next_price(
    price: int, pool_before: int, pool: int, *, target: int, least_atoms: int, most_atoms: int
) -> Amount:
    """Return the price for the next window.

    Args:
      price: of the window that ends, atoms.
      pool_before: tickets, immature ones included, at the end of the window before; 0: there was none, the
        price stays.
      pool: tickets now.
      target: tickets that the price aims at.
      least_atoms: price that is always asked.
      most_atoms: price above which the target could not be bought; the least price may be higher.
    """
    assert min(price, target, least_atoms) > 0, "a price, a target and a least price are positive"
    assert min(pool_before, pool, most_atoms) >= 0, "negative count"
    if pool_before == 0:
        return Amount(price)
    moved = price * pool * pool // pool_before // target
    return Amount(max(min(moved, most_atoms), least_atoms))


def pass_window(state: State, height: int, params: Params) -> State:
    """Set the price for the blocks after `height`, where a window ends with it.

    Args:
      state: at the end of block `height`.
      height: of the block that ends.
      params: of the network.
    """
    if (height + 1) % params.ticket_window_blocks:
        return state
    pool = pool_size(state, height + 1)
    price = next_price(
        state.ticket_price,
        state.ticket_pool,
        pool,
        target=params.ticket_pool_target,
        least_atoms=params.ticket_price_atoms,
        most_atoms=(state.issued - state.burned) // params.ticket_pool_target,
    )
    return replace(state, ticket_price=price, ticket_pool=pool)


def pool_size(state: State, at_height: int) -> int:
    """Return the number of tickets that wait to be drawn, immature ones included."""
    waiting = (t for t in state.tickets.values() if t.task is None and not t.is_expired(at_height))
    return sum(1 for _ in waiting)
