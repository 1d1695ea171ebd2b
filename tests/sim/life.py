"""One whole history - a task from submission to payment - shared by all tests that only look at it.

`life()` has the fast trainer, `real_life()` the real one.
"""

from dataclasses import dataclass, field
from functools import cache

from p2pai import events
from p2pai.chain.state import Stage
from p2pai.primitives.ids import PeerId, TaskId
from testnet.simulator.disk import Disk
from testnet.simulator.network import Network, name_of, network, order
from testnet.simulator.trainer import FastTrainer, real_trainer

SEED = 1
HEARD_KEPT = 10_000
"""Messages of one topic name, and questions: all that a short history has."""


@dataclass
class Snapshot:
    """A moment of the history: what each node had written, what it had heard."""

    now_ms: int
    disks: dict[PeerId, Disk]


@dataclass
class Life:
    """The history."""

    network: Network
    task: TaskId = None
    training: Snapshot = None
    """While the client's task was being trained."""
    heard: dict[str, list[events.Received]] = field(default_factory=dict)
    """Messages received, by the name of their topic."""
    asked: list[bytes] = field(default_factory=list)
    answered: list[bytes] = field(default_factory=list)
    verdicts: dict[str, int] = field(default_factory=dict)

    def watch(self, name, event, reaction):
        if isinstance(event, events.Received):
            kept = self.heard.setdefault(event.topic.split("/")[4], [])
            if len(kept) < HEARD_KEPT:
                kept.append(event)
        elif isinstance(event, events.Asked) and len(self.asked) < HEARD_KEPT:
            self.asked.append(event.body)
        elif isinstance(event, events.Answered) and event.body and len(self.answered) < HEARD_KEPT:
            self.answered.append(event.body)

    def snapshot(self):
        world = self.network.world
        return Snapshot(world.now_ms, {name: host.disk.copy() for name, host in world.hosts.items()})


def iterations(net, task, account=7):
    """The newest iteration of the task that a node knows of."""
    followed = net.core(account).following.get(task)
    return max((m.iteration for m in followed.history.latest.values()), default=-1) if followed else -1


@cache
def life():
    return _live(FastTrainer)


@cache
def real_life():
    return _live(real_trainer)


def _live(trainer):
    net = network(SEED, trainer=trainer)
    it = Life(net)
    net.world.watchers.append(it.watch)
    it.task = net.submit(order(epochs=3))
    assert net.run_to(it.task, Stage.TRAINING)
    assert net.world.run(lambda: iterations(net, it.task, 0) >= 20, 60)
    it.training = it.snapshot()
    assert net.run_to(it.task, Stage.PAID)
    assert net.world.run(lambda: net.world.hosts[name_of(0)].delivered, 30)
    paid_height = net.core(0).state.height
    assert net.world.run(lambda: net.core(0).state.height >= paid_height + 5, 90)
    assert net.settle()
    return it
