"""Under heavy loss of gossip each message that anybody accepted is in every supervisor's record in the end.

What: nobody names what a miner said last before it went away for good; supervisors find it by comparing. How:
30 % of all gossip is lost, one supervisor is cut off for 20 s, one miner never comes back.
"""

import pytest

from p2pai import effects, events
from p2pai.chain import it_res
from p2pai.chain.state import Stage
from p2pai.effects import Verdict
from p2pai.gossip.envelope import open_envelope
from p2pai.gossip.topics import parse
from testnet.simulator.network import name_of, network, order

pytestmark = pytest.mark.usefixtures("shared")

LOSS_PERCENT = 30
SUPERVISORS = (1, 2, 3)
CUT_OFF, GONE = 1, 4


class Accepted:
    """Ids of a task's messages that a node accepted from gossip."""

    def __init__(self):
        self.task, self.ids = None, set()

    def __call__(self, name, event, reaction):
        if not isinstance(event, events.Received):
            return
        topic = parse(event.topic)
        if topic.name != "it_res" or topic.scope != self.task:
            return
        if effects.Judge(Verdict.ACCEPT) in reaction:
            self.ids.add(it_res.message_id(open_envelope(event.data, event.topic).body))


def recorded(net, task, account):
    followed = net.core(account).following.get(task)
    return set(followed.history.recorded) if followed else set()


def last_words(seed):
    net, accepted = network(seed, gossip_loss_percent=LOSS_PERCENT), Accepted()
    net.world.watchers.append(accepted)
    task = accepted.task = net.submit(order(epochs=4))
    assert net.run_to(task, Stage.TRAINING)
    net.world.run(lambda: False, 8)
    net.world.isolate(name_of(CUT_OFF), name_of(GONE))
    net.world.run(lambda: False, 5)
    # It never comes back: nothing reaches it, and it says nothing more.
    net.world.kill(name_of(GONE))
    net.world.run(lambda: False, 15)
    net.world.isolate(name_of(GONE))
    return net, task, accepted


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
def test_what_anybody_accepted_is_recorded_by_all(seed):
    net, task, accepted = last_words(seed)
    everything = lambda: all(accepted.ids <= recorded(net, task, s) for s in SUPERVISORS)  # noqa: E731
    assert net.run_to(task, Stage.EVALUATING, 200), net.task(task)
    assert len(accepted.ids) > 50
    assert net.world.fired["loss"] > 500
    assert everything(), {s: len(accepted.ids - recorded(net, task, s)) for s in SUPERVISORS}
    assert net.run_to(task, Stage.PAID, 200)
    names = [name_of(a) for a in range(8) if a != GONE]
    assert net.settle(names=names)
    assert net.world.rejected == []
