"""NodeCore and the ledger: a miner falls silent for good, and the others do its work.

What: a client's task of several epochs with real nodes over simulated gossip; one of three miners is cut off
in the middle. How: iterations are slow, so that few epochs pass until it is missed.
"""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from p2pai import effects
from p2pai.chain import it_res
from p2pai.chain.state import Stage
from p2pai.gossip.envelope import open_envelope
from p2pai.gossip.topics import parse
from testnet.simulator.invariants import check_ledgers
from testnet.simulator.network import Network, name_of, network, order, quick_spec

pytestmark = pytest.mark.usefixtures("shared")

LOST = 6
EPOCHS = 13
BATCHES = 44
"""Of an epoch; four of 48 are for validation."""


class Heard:
    """Every IT_RES that was said of a task, each once."""

    def __init__(self, net: Network) -> None:
        self.messages: dict[tuple[object, int], it_res.IterationResult] = {}
        self.task: bytes = b""
        net.world.watchers.append(self)

    def __call__(self, name, event, reaction):
        for effect in reaction:
            if isinstance(effect, effects.Publish) and parse(effect.topic).name == "it_res":
                message = it_res.decode(open_envelope(effect.data, effect.topic).body)
                if message.task_prefix == self.task[: len(message.task_prefix)]:
                    self.messages.setdefault((message.ticket, message.iteration), message)

    def newest(self) -> int:
        return max((m.epoch for m in self.messages.values()), default=0)

    def batches(self) -> dict[int, Counter]:
        """Return how often each mini-batch was trained on, by epoch."""
        found = defaultdict(Counter)
        for message in self.messages.values():
            found[message.epoch][message.batch] += 1
        return found


def slow_network(seed: int) -> Network:
    spec = quick_spec()
    params = replace(spec.params, iteration_ms_min=400, slot_ms=600, spacing_s=4, genesis_bits=0x2001_6C00)
    return network(seed, spec=replace(spec, params=params))


def blocks_from(net: Network, task_id, epoch: int):
    """Return the task's blocks that were mined in an epoch or later."""
    core = net.core(1)
    listed = [b for b in core.query("block.list", {"count": 1_000}) if b["task"] == task_id.hex()]
    shown = [core.query("block.show", {"block": str(b["height"])}) for b in listed if b["settled"]]
    return [b for b in shown if b["work_proof"]["epoch"] >= epoch]


@pytest.mark.slow
def test_the_others_do_the_work_of_a_miner_that_is_gone():
    net = slow_network(41)
    heard = Heard(net)
    heard.task = task_id = net.submit(order(epochs=EPOCHS))
    assert net.world.run(lambda: heard.newest() == 2, 120)
    net.world.isolate(name_of(LOST))
    assert net.world.run(lambda: bool(net.task(task_id).shifts), 120), "nobody missed it"

    task, (shift,) = net.task(task_id), net.task(task_id).shifts
    (lost,) = task.expelled
    state = net.core(0).state
    assert state.tickets[lost].owner == net.core(LOST).identity.public
    assert shift.miners == tuple(t for t in task.miners if t != lost)
    assert heard.newest() < shift.epoch <= EPOCHS, "everybody knows of it in time"
    price = net.spec.params.ticket_price_atoms
    assert task.captured == price * net.spec.params.skip_penalty_percent // 100

    assert net.run_to(task_id, Stage.PAID, 300), net.task(task_id).history
    batches = heard.batches()
    assert all(len(batches[e]) < BATCHES for e in range(3, shift.epoch)), "its mini-batches were left out"
    for epoch in range(shift.epoch, EPOCHS + 1):
        assert len(batches[epoch]) == BATCHES
        assert set(batches[epoch].values()) == {1}

    height = net.core(1).state.height
    assert net.world.run(lambda: net.core(1).state.height > height + 4, 120), "until all blocks are settled"
    mined = blocks_from(net, task_id, shift.epoch)
    assert mined, "no block came from the time after the shift"
    assert all(b["approvals"] == b["verifiers"] == 3 for b in mined)

    paid = net.task(task_id)
    assert [score > 0 for score in paid.conclusion.scores] == [t != lost for t in paid.miners]
    assert paid.captured == task.captured, "it loses nothing twice"
    payouts = net.core(1).query("task.progress", {"task": task_id.hex()})["payouts"]
    assert [p["role"] for p in payouts].count("miner") == 2
    staying = {name: core for name, core in net.cores.items() if name != name_of(LOST)}
    assert net.settle(names=tuple(staying))
    check_ledgers(net.spec, staying)
    assert net.world.rejected == []
