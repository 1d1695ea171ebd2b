"""NodeCore and the ledger: a majority of a task's workers pauses it and goes on later.

What: a client's task of real nodes over simulated gossip is paused by the users of four nodes, the chain goes
on with the predefined task meanwhile, heartbeats let the others consider going on, and the task is paid.
"""

import pytest

from p2pai import effects
from p2pai.chain import it_res, pausing
from p2pai.chain.state import Stage
from p2pai.gossip.envelope import open_envelope
from p2pai.gossip.topics import parse
from p2pai.primitives import cbor
from testnet.simulator.network import name_of, network, order

pytestmark = pytest.mark.usefixtures("shared")

PAUSERS = (1, 2, 4, 5)
"""Two supervisors and two miners of six workers."""


def say(net, account, method, task_id):
    net.world.submit(name_of(account), method, cbor.encode({"task": task_id.hex(), "order": method}))


@pytest.mark.slow
def test_a_paused_task_goes_on_and_is_paid():
    net = network(24)
    said = []
    heartbeats = []

    def watch(name, event, reaction):
        for effect in reaction:
            if isinstance(effect, effects.Publish):
                topic = parse(effect.topic)
                if topic.name == "it_res":
                    said.append(it_res.decode(open_envelope(effect.data, effect.topic).body))
                heartbeats.extend([name] * (topic.name == "heartbeat"))

    net.world.watchers.append(watch)
    task_id = net.submit(order(epochs=4))
    ours = lambda: [m for m in said if task_id.startswith(m.task_prefix)]  # noqa: E731
    assert net.world.run(lambda: len(ours()) > 20, 200)
    for account in PAUSERS:
        say(net, account, "task.pause", task_id)
    assert net.world.run(lambda: net.task(task_id).stage is Stage.PAUSED, 60), net.task(task_id)

    newest = max(m.iteration for m in ours())
    height = net.core(0).state.height
    assert net.world.run(lambda: net.core(0).state.height > height + 5, 120), "the chain goes on"
    assert max(m.iteration for m in ours()) <= newest + 1, "nobody trains meanwhile"
    task = net.task(task_id)
    assert task.stage is Stage.PAUSED, "what its user paused does not go on by itself"
    assert len(set(heartbeats)) == 6
    considering = pausing.considering(task, net.core(0).state.height)
    assert 0 < len(considering) <= 2, "the two others heard a majority alive"

    for account in PAUSERS:
        say(net, account, "task.resume", task_id)
    assert net.run_to(task_id, Stage.PAID, 300), net.task(task_id).history
    assert max(m.iteration for m in ours()) > newest + 1
    stages = [stage for stage, _ in net.task(task_id).history]
    assert stages.count("paused") == 1
    assert net.settle()
    net.check()
