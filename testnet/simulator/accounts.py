"""The money of a simulated world in the end: what everybody has, and where it came from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from p2pai.chain.state import State
from p2pai.primitives.ids import KeyHash, Outpoint
from testnet.outcome import Account, Coins
from testnet.simulator.flows import Flows


def coins(
    genesis: State, best: State, flows: Flows, names: Mapping[KeyHash, str], nodes: Sequence[str]
) -> Coins:
    """Return where a chain's money came from and went.

    Args:
      genesis: the ledger that it began with.
      best: the ledger that it came to.
      flows: what moved in the blocks between.
      names: of the nodes, by their account.
      nodes: in the order wanted; whoever runs none comes last, as `others`.
    """
    known: Counter[tuple[str, str]] = Counter()
    for (owner, field), atoms in flows.items():
        known[names.get(owner, "others"), field] += atoms
    for state, field in ((genesis, "genesis"), (best, "balance")):
        for output in state.utxos.values():
            known[names.get(output.key_hash, "others"), field] += output.value
    tasks = [task for _, task in best.active_tasks()]
    for ticket in best.tickets:
        _add_stake(known, best, ticket, names)
    return Coins(
        genesis=genesis.issued,
        subsidies=best.issued - genesis.issued,
        burned=best.burned,
        fees=sum(atoms for (_, field), atoms in flows.items() if field == "fees"),
        staked=sum(atoms for (_, field), atoms in known.items() if field == "staked"),
        in_tasks=_worth(best, (task.stake for task in tasks if task.stake is not None)),
        accounts=tuple(_account(known, name) for name in (*nodes, "others")),
    )


def _add_stake(
    known: Counter[tuple[str, str]], best: State, ticket: Outpoint, names: Mapping[KeyHash, str]
) -> None:
    stake = best.utxos.get(ticket)
    if stake is not None:
        known[names.get(stake.key_hash, "others"), "staked"] += stake.value


def _account(known: Counter[tuple[str, str]], name: str) -> Account:
    return Account(name, **{field: atoms for (owner, field), atoms in sorted(known.items()) if owner == name})


def _worth(state: State, outpoints: Iterable[Outpoint]) -> int:
    return sum(state.utxos[outpoint].value for outpoint in outpoints if outpoint in state.utxos)
