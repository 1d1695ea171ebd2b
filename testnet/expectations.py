"""What a scenario expects, held against what a run of it gave; the same for simulated and real runs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from p2pai.chain.state import Stage
from testnet.outcome import Block, Expectation, Outcome, Task
from testnet.scenario.cast import players, select
from testnet.scenario.model import Scenario
from testnet.scenario.orders import name_of_task

BLOCKS_AFTER: Final = 2
"""That the chain must go on by, once healed."""

BANNED_S: Final = 10
"""Within which whoever floods must be banned. Source: RELIABILITY (2), "DoS"."""

DELIVERED_MS: Final = 6_000
"""Within which a block must be everywhere. Source: RELIABILITY (1), L3; (2), "Sybil, eclipse"."""

NEVER_MS: Final = 1 << 62


def judge(
    scenario: Scenario, outcome: Outcome, refusals: Mapping[str, str] | None = None
) -> tuple[Expectation, ...]:
    """Return each expectation, met or not.

    Args:
      scenario: that was run.
      outcome: what it gave.
      refusals: why a client's node refused an order, by its task's name, where that is known.
    """
    return (
        *_fired(outcome),
        *_lively(scenario, outcome),
        *_tasks(scenario, outcome, refusals or {}),
        *_slashed(scenario, outcome),
        *_banned(scenario, outcome),
        *_delivered(scenario, outcome),
        *_unpaid(scenario, outcome),
    )


def _fired(outcome: Outcome) -> Iterator[Expectation]:
    """Demand each fault: a run in which it did not happen says nothing about it."""
    counts = {fired.kind: fired.count for fired in outcome.fired}
    for kind in dict.fromkeys(planned.kind for planned in outcome.planned):
        yield _expect(f"{kind} happens at least once", counts.get(kind, 0) > 0, "it never happened")


def _lively(scenario: Scenario, outcome: Outcome) -> Iterator[Expectation]:
    tips = {node.tip: node.height for node in outcome.nodes if node.is_honest}
    settle_s = scenario.expect.settle_s
    yield _expect(
        f"all honest nodes are on one tip within {settle_s} s after healing",
        outcome.head.settled_ms is not None and len(tips) == 1,
        f"they are on {len(tips)} tips in the end, at heights {_listed(tips.values())}",
    )
    healed_ms = outcome.head.healed_ms
    best = (block for block in outcome.blocks if block.is_best)
    later = [block for block in best if healed_ms is not None and _shown_ms(block, outcome) > healed_ms]
    yield _expect(
        f"the chain goes on by {BLOCKS_AFTER} blocks after healing",
        len(later) >= BLOCKS_AFTER,
        f"it has {len(later)} since",
    )
    height, wanted = max(tips.values(), default=0), scenario.expect.height_min
    yield _expect(f"the chain has at least {wanted} blocks", height >= wanted, f"it has {height}")


def _shown_ms(block: Block, outcome: Outcome) -> int:
    """Return when the first honest node had a block: others may have kept it back."""
    honest = [node.name for node in outcome.nodes if node.is_honest]
    return min((block.seen_ms[name] for name in honest if name in block.seen_ms), default=block.found_ms)


def _tasks(scenario: Scenario, outcome: Outcome, refusals: Mapping[str, str]) -> Iterator[Expectation]:
    allowed = scenario.expect.tasks
    for number, _ in enumerate(scenario.tasks if allowed else (), 1):
        name = name_of_task(number)
        task = next((task for task in outcome.tasks if task.name == name and not task.is_predefined), None)
        stage = task.stages[-1].stage if task and task.stages else ""
        found = f"it is {stage}" if stage else "it never came into the chain"
        if not stage and name in refusals:
            found += f"; its client's node refused it: {refusals[name]}"
        yield _expect(f"{name} ends {' or '.join(allowed)}", stage in allowed, found)
        if stage == Stage.PAID.value and task is not None:
            yield from _accurate(scenario.expect.accuracy_percent_min, task)


def _accurate(percent_min: int, task: Task) -> Iterator[Expectation]:
    if percent_min:
        percent = 100 * (task.score or 0)
        what = f"the model of {task.name} has an accuracy of at least {percent_min} %"
        yield _expect(what, percent >= percent_min, f"it has {percent:.1f} %")


def _slashed(scenario: Scenario, outcome: Outcome) -> Iterator[Expectation]:
    losers = [node.name for node in outcome.nodes if node.slashed_atoms]
    wanted = select(scenario, scenario.expect.slashed)
    if wanted:
        what = f"one of {_listed(scenario.expect.slashed)} loses of its stake"
        yield _expect(what, any(name in wanted for name in losers), "none did")
    allowed = (*wanted, *select(scenario, scenario.expect.may_be_slashed))
    others = [name for name in losers if name not in allowed]
    what = f"nobody but {_listed(allowed)} loses of its stake" if allowed else "nobody loses of its stake"
    yield _expect(what, not others, f"{_listed(others)} did")


def _unpaid(scenario: Scenario, outcome: Outcome) -> Iterator[Expectation]:
    wanted = select(scenario, scenario.expect.unpaid)
    if not wanted:
        return
    mining = (block.miner for block in outcome.blocks if block.is_best and _is_approved(block))
    others = (account.node for account in outcome.coins.accounts if account.worked or account.verified)
    paid = [name for name in dict.fromkeys((*mining, *others)) if name in wanted]
    yield _expect(f"{_listed(scenario.expect.unpaid)} earn nothing", not paid, f"{_listed(paid)} did")


def _is_approved(block: Block) -> bool:
    return any(approval.is_approving and approval.height is not None for approval in block.approvals)


def _banned(scenario: Scenario, outcome: Outcome) -> Iterator[Expectation]:
    for name in select(scenario, scenario.expect.banned):
        plans = [plan for plan in scenario.adversaries if name in select(scenario, plan.nodes)]
        until_ms = (min((plan.from_s for plan in plans), default=0) + BANNED_S) * 1000
        judges = [ban.node for ban in outcome.bans if ban.remote == name and ban.at_ms <= until_ms]
        others = [node.name for node in outcome.nodes if node.is_honest and node.name not in judges]
        what = f"every honest node bans {name} within {BANNED_S} s"
        yield _expect(what, not others, f"{_listed(others)} did not")


def _delivered(scenario: Scenario, outcome: Outcome) -> Iterator[Expectation]:
    least = scenario.expect.delivery_percent_min
    if not least:
        return
    cast = {player.name for player in players(scenario) if not player.group.starts_s}
    nodes = [node.name for node in outcome.nodes if node.is_honest and node.name in cast]
    last_ms = outcome.head.length_ms - DELIVERED_MS
    blocks = [block for block in outcome.blocks if block.is_best and 0 < block.found_ms <= last_ms]
    late = sum(
        block.seen_ms.get(name, NEVER_MS) > block.found_ms + DELIVERED_MS
        for block in blocks
        for name in nodes
    )
    percent = 100 - 100 * late / max(1, len(blocks) * len(nodes))
    what = f"at least {least} % of blocks reach a node within {DELIVERED_MS // 1000} s"
    yield _expect(what, bool(blocks) and percent >= least, f"{percent:.1f} % of {len(blocks)} do")


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _expect(what: str, is_met: bool, otherwise: str) -> Expectation:  # noqa: FBT001
    return Expectation(what, is_met, "" if is_met else otherwise)
