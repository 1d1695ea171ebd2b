"""A client's task on the real data, cut into shards; and a node that has a part in it, fed by hand."""

from dataclasses import replace
from functools import cache

from p2pai import jobs
from p2pai.chain import schedule, shards
from p2pai.chain.training import FULL_REPLICAS, ReedSolomon
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.ids import PeerId
from testnet.simulator.host import Blobs
from tests.chain.ledger import Chain, devnet
from tests.roles.lone import Lone
from tests.roles.trained import spec, start_task

SCHEME = ReedSolomon(2, 1)


@cache
def cut():
    """What the client has: its blobs, and what it says of them."""
    blobs = Blobs()
    asked = spec().tasks[0].dataset
    made = Worker(blobs).run(jobs.Prepare("package:digits.npz", asked.format, False, 30, 10, SCHEME))
    return blobs, made


@cache
def named_spec():
    """The devnet, whose first workers can be asked by name."""
    found = devnet()
    named = (
        replace(entry, ticket=replace(entry.ticket, peer=PeerId(f"peer of ticket {i}")))
        for i, entry in enumerate(found.tickets)
    )
    return replace(found, tickets=tuple(named))


@cache
def rows(definition):
    return shards.read(definition, b"".join(cut()[0].get(definition.dataset.shards)))


class Part:
    """A node, and the task that it has a part in."""

    def __init__(self, account, scheme=SCHEME, listed=None, *, worker=False):
        blobs, made = cut()
        listed = listed or (made.shards if scheme is SCHEME else None)
        self.chain = Chain(named_spec())
        dataset = replace(spec().tasks[0].dataset, shards=listed)
        self.id = start_task(self.chain, redundancy=scheme, dataset=dataset)
        self.task = self.chain.task(self.id)
        self.definition = self.task.definition
        self.plan = schedule.make_schedule(self.definition, self.task.definition_block)
        mine = Blobs()
        self.lone = Lone(self.chain, account, ("peer",), blobs=mine, worker=Worker(mine) if worker else None)
        self.node = self.lone.role().node
        self.theirs = blobs

    def run(self, action):
        """Do something on the node's behalf, outside an event."""
        action()
        for effect in self.lone.core.take_effects():
            self.lone._perform(effect)

    def serve(self, *names):
        """End fetches with what the client has."""
        for name in names:
            self.lone.fetched(name, self.theirs.get(name))

    def peers(self, *places):
        """Peer ids of supervisors, by their place in the committee."""
        tickets = self.chain.state.tickets
        return tuple(tickets[self.task.supervisors[i]].peer for i in places)

    @property
    def rows(self):
        """Shards of each revealed fragment, in training order."""
        fragments = self.definition.dataset.fragments
        return [rows(self.definition)[fragments.index(f)] for f in self.plan.training]


WHOLE = FULL_REPLICAS
