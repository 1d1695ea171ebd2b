"""Miners that really train, fed by hand: blocks whose nonces were earned, and the blobs to replay them."""

from dataclasses import dataclass, field, replace
from functools import cache

from p2pai import jobs
from p2pai.chain import it_res
from p2pai.chain.block import Block
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.ids import TaskId
from testnet.simulator.host import Blobs
from testnet.simulator.network import quick_spec
from tests.chain.ledger import EASY, MINERS, SUPERVISORS, Chain
from tests.roles.lone import Lone, certified


@cache
def spec():
    """The devnet with a small model, its real data, and a target that everybody meets."""
    quick = quick_spec()
    return replace(quick, params=replace(quick.params, genesis_bits=EASY, limit_bits=EASY))


@cache
def prepared():
    """The fragments of the real data, as the client cuts them."""
    blobs = Blobs()
    data = spec().tasks[0].dataset
    made = Worker(blobs).run(
        jobs.Prepare("package:digits.npz", data.format, regression=False, batch_size=30, fragment_count=10)
    )
    assert made.fragments == data.fragments
    return {name: blobs.get(name) for name in data.fragments}


def start_task(chain, **changes):
    """Bring a client's task on the real data to its training, on a chain of made-up blocks."""
    real = spec().tasks[0]
    fields = {"dataset": real.dataset, "layers": real.layers, "epochs": 1, "expected_blocks": 50}
    return chain.start(**{**fields, **changes})


@dataclass
class Group:
    """Miners of one task; the test is their supervisors and all that lies between."""

    accounts: tuple[int, ...] = MINERS[:2]
    workers: dict[int, type] = field(default_factory=dict)
    """Trainers other than the honest one."""
    chain: Chain = field(default_factory=lambda: Chain(spec()))
    task: TaskId | None = None
    """None: the predefined one."""
    blocks: dict[int, list[Block]] = field(default_factory=dict)
    """What each mined, whether it came first or not."""
    messages: dict[int, list[bytes]] = field(default_factory=dict)
    """What each said, by iteration."""

    def __post_init__(self):
        self.task = self.task or self.chain.predefined
        self.nodes = {account: self._start(account) for account in self.accounts}
        self.slot = 0
        self._unrecorded: list[bytes] = []

    def _start(self, account):
        blobs = Blobs()
        for chunks in prepared().values():
            blobs.put(chunks, shared=False)
        worker = self.workers.get(account, Worker)(blobs)
        return Lone(self.chain, account, ("miner",), worker=worker, blobs=blobs)

    def restart(self, account, **changes):
        """Kill a miner and start it again, with an empty trainer."""
        old = self.nodes[account]
        worker = self.workers.get(account, Worker)(old.blobs)
        self.nodes[account] = old.again(worker=worker, **changes)
        return self.nodes[account]

    def step(self, *, certify=True):
        """Let everybody do an iteration and, with `certify`, hear the others' in a slot."""
        for account, node in self.nodes.items():
            node.wait(self.chain.params.iteration_ms_min)
            self._collect(account, node)
        if certify:
            self.close_slot()

    def _collect(self, account, node):
        known = self.messages.setdefault(account, [])
        new = list(dict.fromkeys(data for data in node.take("it_res") if data not in known))
        known += new
        self._unrecorded += new
        self.blocks.setdefault(account, []).extend(Block.decode(data) for data in node.take("block"))

    def close_slot(self):
        """Certify what was said and let everybody hear it."""
        if not self._unrecorded:
            return
        slot = certified(self.chain, self.slot, self._unrecorded, self.task)
        for account, node in self.nodes.items():
            for data in self._unrecorded:
                node.hear_iteration(data, self.task)
            node.hear_said(slot, SUPERVISORS[0], self.task)
            self._collect(account, node)
        self.slot += 1
        self._unrecorded = self._unrecorded[len(slot.messages) :]

    def run(self, until, steps=40):
        for _ in range(steps):
            if until():
                return
            self.step()
        raise AssertionError("it did not come to that")

    def decoded(self, account):
        return [it_res.decode(data) for data in self.messages[account]]

    def role(self, account=None):
        return self.nodes[account or self.accounts[0]].role()

    def lucky_block(self, account=None):
        """Mine a block in which peers' updates were applied; the chain and everybody takes it."""
        account = account or self.accounts[0]

        def applied():
            own = [b for b in self.blocks.get(account, ()) if b.header.prev == self.chain.state.tip]
            fitting = (b for b in own if it_res.decode(b.work_proof.lucky.message).peer_count)
            return next(fitting, None)

        self.run(lambda: applied() is not None)
        block = self.chain.connect(applied())
        for node in self.nodes.values():
            node.hear("block", block.encoded)
        return block
