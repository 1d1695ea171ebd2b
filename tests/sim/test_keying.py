"""NodeCore and the ledger: supervisors make their key, whoever lies is out, and the task is paid.

What: a client's task with real nodes over simulated gossip; account 1 lies while the key is made, in every
way there is. How: its supervisor's dealer is replaced; accounts 7 and 8 supervise too, so that somebody can
take its place.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from p2pai.chain import dkg, keying
from p2pai.chain.params import VIEW_MAX
from p2pai.chain.state import Stage, State, Task
from p2pai.chain.supervision import DkgComplaint, DkgDeal, WrongShare
from p2pai.primitives import ecdsa, record
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint, TaskId
from p2pai.roles.dealer import Dealer, DealSeen
from p2pai.roles.supervisor import Supervisor
from p2pai.vrf import ecvrf
from testnet.scenario.adversaries import EquivocatingLeader
from testnet.simulator.network import Network, name_of, network, order

pytestmark = pytest.mark.usefixtures("shared")

LIAR = 1
SUPERVISING = ("supervisor",)


class Liar(Supervisor):
    """A supervisor whose dealer the test chooses, in a client's task alone."""

    make: type[Dealer] = Dealer

    def dealer(self, task: TaskId, ticket: Outpoint) -> Dealer:
        return self.make(self.node, task, ticket)


class WrongShares(Dealer):
    """Deals shares that do not fit, with proofs that hold."""

    def _deal(self, task, attempt):
        if self.ticket not in attempt.dealers or any(d.ticket == self.ticket for d in attempt.dealt):
            return
        keys = self.node.identity.keys
        part, receivers = (
            keying.dealer_context(attempt, self.ticket),
            keying.receivers(self.node.pool, attempt),
        )
        threshold = (2 * len(receivers) + 2) // 3
        deal = dkg.make_deal(keys.bls, part, receivers, threshold)
        terms = (part, threshold.to_bytes(4, "big"), b"", *receivers)
        ephemeral = tagged_hash("p2pai/dkg/ephemeral", keys.bls, *terms)
        bad = replace(deal, shares=tuple(Hash32(bytes(32)) for _ in deal.shares))
        bad = replace(bad, knowledge=ecvrf.prove(ephemeral, dkg.digest(bad, part)))
        signature = self._sign(part, bad)
        self.node.post(DkgDeal(self.task_id, attempt.attempt, self.ticket, bad, signature))


class Silent(Dealer):
    """Does nothing."""

    def tip_changed(self):
        return


class Mute(Dealer):
    """Deals, and never confirms."""

    def tip_changed(self):
        task = self.node.pool.tasks.get(self.task_id)
        if task is not None and task.keying is not None:
            self._deal(task, task.keying)


class FalseAccuser(Dealer):
    """Accuses another member of a wrong share that fits."""

    def tip_changed(self):
        task = self.node.pool.tasks.get(self.task_id)
        if task is None or task.keying is None or self.ticket not in task.keying.members:
            return
        self._deal(task, task.keying)
        for dealt in task.keying.dealt:
            if dealt.ticket != self.ticket:
                secret = self.node.identity.keys.vrf
                revealed = dkg.sealing.reveal(secret, dealt.deal.point, dealt.context)
                evidence = WrongShare(dealt.ticket, dkg.Accusation(revealed.shared, revealed.proof))
                self.node.post(DkgComplaint(self.task_id, task.keying.attempt, self.ticket, evidence))
                return


class TwoFaced(Dealer):
    """Deals once on chain, and tells the members of another deal."""

    def _deal(self, task, attempt):
        super()._deal(task, attempt)
        part = keying.dealer_context(attempt, self.ticket)
        other = Hash32(bytes(32))
        signature = ecdsa.sign(self.node.identity.keys.spending, keying.deal_digest(part, other))
        seen = DealSeen(attempt.attempt, self.ticket, other, signature)
        self.node.publish("dkg", self.task_id, record.encode(seen))


def lying(make: type[Dealer], seed: int = 3, **more: Any) -> Network:
    """Start a network in which account 1's dealer is of a kind."""
    accounts, roles = (7, 8, 1, 2, 3, 4, 5, 6, 0), {7: SUPERVISING, 8: SUPERVISING}
    net = network(seed, accounts=accounts, roles=roles, **more)
    core = net.core(LIAR)
    liar = Liar(core)
    liar.make = make
    core.roles["supervisor"] = liar
    net.invariants.honesty.distrust(name_of(LIAR))
    return net


def reserves_are_live(net: Network) -> bool:
    """Whether everybody who may supervise has a live ticket that is free."""
    state = net.core(0).state
    live = state.live_tickets("supervisor", state.height, net.spec.params.ticket_maturity_blocks)
    return len({state.tickets[t].owner for t in live}) == 5


def submit_with(net: Network, drawn: Callable[[State, Task], bool], epochs: int = 1) -> TaskId:
    """Submit tasks until one has the liar among its supervisors."""
    assert net.world.run(lambda: reserves_are_live(net), 120)
    for attempt in range(12):
        task_id = net.submit(order(epochs=epochs, preferences=(1, 1 + attempt)))
        assert net.world.run(lambda t=task_id: has_closed(net, t), 120)
        task = net.task(task_id)
        if drawn(net.core(0).state, task):
            return task_id
    raise AssertionError("the liar was never drawn")


def has_closed(net: Network, task_id: TaskId) -> bool:
    task = net.task(task_id)
    return task is not None and task.stage is not Stage.JOINING


def liar_supervises(net: Network) -> Callable[[State, Task], bool]:
    owner = net.core(LIAR).identity.public
    return lambda state, task: any(state.tickets[t].owner == owner for t in task.supervisors)


def with_a_reserve(drawn: Callable[[State, Task], bool]) -> Callable[[State, Task], bool]:
    def and_a_reserve(state: State, task: Task) -> bool:
        return drawn(state, task) and any(state.tickets[t].role == "supervisor" for t in task.reserves)

    return and_a_reserve


def liars_tickets(net: Network, state: State) -> list[Outpoint]:
    return [o for o, t in state.tickets.items() if t.owner == net.core(LIAR).identity.public]


@pytest.mark.parametrize(
    ("make", "loses_all"),
    [
        (WrongShares, True),
        pytest.param(Silent, False, marks=pytest.mark.slow),
        pytest.param(Mute, False, marks=pytest.mark.slow),
        pytest.param(FalseAccuser, True, marks=pytest.mark.slow),
        pytest.param(TwoFaced, True, marks=pytest.mark.slow),
    ],
)
def test_whoever_lies_is_out_and_nobody_else(make, loses_all):
    net = lying(make)
    task_id = submit_with(net, liar_supervises(net))
    assert net.run_to(task_id, Stage.TRAINING, 200), net.task(task_id)
    state, task = net.core(0).state, net.task(task_id)
    mine = liars_tickets(net, state)
    assert len(task.expelled) == 1
    assert set(task.expelled) <= set(mine)
    assert not set(task.supervisors) & set(mine)
    price = net.spec.params.ticket_price_atoms
    assert task.captured == (price if loses_all else price // 10)
    assert net.run_to(task_id, Stage.PAID, 300), net.task(task_id).history
    net.settle()
    net.check()


@pytest.mark.slow
def test_the_transcript_of_a_restarted_attempt_is_checked_offline():
    net = lying(WrongShares)
    task_id = submit_with(net, liar_supervises(net))
    assert net.run_to(task_id, Stage.TRAINING, 200)
    answer = net.core(0).query("dkg.transcript", {"task": task_id.hex()})
    kinds = [step["type"] for step in answer["steps"]]
    assert kinds.count("DKG_COMPLAINT") == 1
    assert kinds.count("DKG_SUCCESSFUL") >= 3
    assert answer["group_key"] == net.task(task_id).committee.key.hex()


@pytest.mark.slow
def test_who_is_cut_off_while_the_key_is_made_is_replaced():
    net = lying(Dealer)
    task_id = submit_with(net, liar_supervises(net))
    if net.task(task_id).stage is Stage.KEYING:
        net.world.isolate(name_of(LIAR))
    assert net.run_to(task_id, Stage.TRAINING, 200)
    net.world.isolate()
    assert net.run_to(task_id, Stage.PAID, 300), net.task(task_id).history
    net.settle()
    net.check()


TWO_SLOTS = EquivocatingLeader(nodes=("liar",), views=VIEW_MAX)


@pytest.mark.slow
def test_a_leader_with_two_slots_for_one_place_is_out_and_the_key_is_shared_anew():
    net = lying(Dealer, dishonest={TWO_SLOTS: (LIAR,)})
    task_id = submit_with(net, with_a_reserve(liar_supervises(net)), epochs=40)
    assert net.run_to(task_id, Stage.TRAINING, 200)
    key = net.task(task_id).committee.key
    assert net.world.run(lambda: net.task(task_id).committee.renewed, 200), net.task(task_id)
    task, state = net.task(task_id), net.core(0).state
    mine = liars_tickets(net, state)
    assert len(set(task.expelled) & set(mine)) == 1
    assert not set(task.supervisors) & set(mine)
    assert len(task.supervisors) == 3
    assert task.committee.key == key, "certificates hold as before"
    assert task.captured == net.spec.params.ticket_price_atoms
    assert net.run_to(task_id, Stage.PAID, 400), net.task(task_id).history
    net.settle()
    net.check()
