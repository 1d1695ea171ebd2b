"""A real node on a real store under kill -9 at every write point ends in the state of a node never killed.

The node hears a short chain by gossip: ten blocks, two checkpoints, and a side branch that the first of them
cuts off. A killed node starts again from what its disk has, hears the chain again, and may be killed again.
"""

import os
import random
import shutil
import signal
import time
from contextlib import closing
from dataclasses import replace
from functools import cache, partial

import pytest
from crashes import points_of, run, was_killed

from p2pai import effects, events
from p2pai.chain.snapshot import decode, snapshot_id
from p2pai.effects import Verdict
from p2pai.gossip.envelope import seal
from p2pai.gossip.topics import Topic
from p2pai.node.core import NodeCore
from p2pai.primitives import bls, ecdsa
from p2pai.primitives.ids import PeerId
from p2pai.shell.store import Store, read_store
from tests.chain.ledger import MINERS, devnet, keys
from tests.chain.voters import Voters
from tests.node.parts import REMOTE, START_MS, STRANGER

pytestmark = pytest.mark.forks

EVERY, WINDOW = 3, 2
"""Blocks between checkpoints, and until one is voted on: as few as the rules allow."""

COMMIT_EVERY = 3
"""Blocks whose writes wait for each other."""

LIVES = 4
"""A node is killed in each of them before it is left in peace."""


def chains():
    """Return a chain with checkpoints at EVERY and 2 * EVERY, and a branch that leaves it below the first."""
    params = replace(devnet().params, checkpoint_blocks=EVERY, verification_window_blocks=WINDOW)
    chain, side = Voters(replace(devnet(), params=params)), None
    for top in (EVERY + WINDOW, 2 * EVERY + WINDOW):
        while chain.height < top:
            chain.grow(chain.height + 1)
            side = side or (chain.fork() if chain.height == EVERY - 1 else None)
        snapshot = snapshot_id(chain.state_at(chain.voting.height))
        for ticket in chain.voting.validators[: params.checkpoint_votes]:
            chain.cast(ticket, snapshot=snapshot)
        chain.mine()
    chain.mine()
    for _ in range(2):
        side.mine(miner=MINERS[1])
    assert chain.state.checkpoint.height == 2 * EVERY
    return chain, side


class Heard:
    """What a node hears, in order."""

    def __init__(self):
        self.chain, side = chains()
        self.spec = self.chain.spec
        self.topic = str(Topic(self.spec.short_id, None, "block"))
        self.side = side.blocks[EVERY - 1 :]
        blocks = [*self.chain.blocks[: EVERY + 1], *self.side, *self.chain.blocks[EVERY + 1 :]]
        self.messages = [
            seal(keys(STRANGER).spending, self.topic, number, block.encoded)
            for number, block in enumerate(blocks, 1)
        ]


@pytest.fixture(scope="module")
def heard():
    """The same few signatures are checked in every life: here once, in the processes forked from this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ecdsa, "verify", cache(ecdsa.verify))
        patch.setattr(bls, "verify_sum", cache(bls.verify_sum))
        yield Heard()


class Life:
    """A node from its start to the end of what it hears."""

    def __init__(self, heard, store):
        self.store, self.writes, self.verdicts = store, [], []
        self.core = NodeCore(heard.spec, keys(7), PeerId("peer7"), ("peer",), store.archive)
        self.give(store.started())
        for number, message in enumerate(heard.messages, 1):
            self.give(events.Received(REMOTE, heard.topic, message))
            if number % COMMIT_EVERY == 0:
                self.commit()
        self.commit()

    def give(self, event):
        reaction = self.core.handle(event, START_MS)
        self.writes += [effect for effect in reaction if isinstance(effect, effects.Write)]
        self.verdicts += [effect.verdict for effect in reaction if isinstance(effect, effects.Judge)]

    def commit(self):
        while self.writes:
            batch, self.writes = self.writes, []
            self.store.write_all(batch)
            for write in batch:
                self.give(events.Persisted(write.token))


def live(heard, directory):
    with closing(Store.open(directory)) as store:
        Life(heard, store)


def end_of(heard, directory):
    """Return what a node has that is left in peace: its ledger, its chain, and its disk."""
    with closing(Store.open(directory)) as store:
        core = Life(heard, store).core
        tree, started = core.ledger.tree, store.started()
        assert store.damaged == 0
        return (
            snapshot_id(core.state),
            [tree.block_at(height) for height in range(1, tree.state.height + 1)],
            tree.root.state.tip,
            (started.snapshot, sorted(started.blocks)),
            [store.archive.body(block.hash) is None for block in heard.side],
        )


@pytest.fixture(scope="module")
def never_killed(heard, tmp_path_factory):
    return end_of(heard, tmp_path_factory.mktemp("never") / "node")


def test_a_node_takes_the_side_branch_too(tmp_path, heard):
    with closing(Store.open(tmp_path)) as store:
        assert Life(heard, store).verdicts == [Verdict.ACCEPT] * len(heard.messages)


def test_a_node_on_a_real_store_ends_where_the_chain_does(heard, never_killed):
    state, blocks, root, (snapshot, above), lost = never_killed
    assert (state, blocks) == (snapshot_id(heard.chain.state), heard.chain.blocks)
    assert root == blocks[2 * EVERY - 1].hash
    assert snapshot is not None
    assert len(above) == len(blocks) - 2 * EVERY
    assert lost == [True, True]


def kill(heard, directory, at):
    """Let a node live, to be killed at a point; return whether the life was long enough for that."""
    status, count = run(lambda: live(heard, directory), at)
    killed = was_killed(status)
    assert killed or (status == 0 and 2 * count + 1 < at), "it failed, or outlived its end"
    return killed


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_write_point_and_again_while_it_recovers(tmp_path, heard, never_killed, step):
    """Each time at three random points of the lives that follow too; every twelfth before a commit."""
    dice, recovering = random.Random(11), 0
    points = points_of(lambda: live(heard, tmp_path / "count"))
    assert len(points) > 140
    for point in points[::step]:
        directory = tmp_path / str(point)
        assert kill(heard, directory, point)
        recovering += sum(kill(heard, directory, dice.choice(points)) for _ in range(LIVES - 1))
        assert end_of(heard, directory) == never_killed
        shutil.rmtree(directory)
    assert recovering >= len(points[::step]), "hardly any life was a recovery"


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_write_point_of_a_recovery(tmp_path, heard, never_killed, step):
    """From what a node left that was killed while it wrote its second checkpoint."""
    killed = tmp_path / "killed"
    points = points_of(lambda: live(heard, tmp_path / "count"))
    assert kill(heard, killed, points[-6])
    shutil.copytree(killed, tmp_path / "counted")
    started, archive = read_store(tmp_path / "counted")
    archive.close()
    assert decode(started.snapshot).height == EVERY
    points = points_of(lambda: live(heard, tmp_path / "counted"))
    assert len(points) > 60
    for point in points[::step]:
        directory = tmp_path / str(point)
        shutil.copytree(killed, directory)
        assert kill(heard, directory, point)
        assert end_of(heard, directory) == never_killed
        shutil.rmtree(directory)


def kill_from_outside(life, delay_s):
    """Run a life in a child process that is killed after a while; return whether it came to that."""
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            life()
            failed = 0
        finally:
            os._exit(failed)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert was_killed(status) or status == 0
    return was_killed(status)


@pytest.mark.parametrize("nodes", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_from_outside_at_random_instants(tmp_path, heard, never_killed, nodes):
    """Between two statements or inside one: ten lives of each node, ended within the time of a whole one."""
    dice, kills = random.Random(13), 0
    began = time.monotonic()
    assert run(lambda: live(heard, tmp_path / "timed"))[0] == 0
    whole_s = time.monotonic() - began
    for number in range(nodes):
        directory = tmp_path / str(number)
        for _ in range(10):
            kills += kill_from_outside(partial(live, heard, directory), dice.uniform(0, whole_s))
        assert end_of(heard, directory) == never_killed
    assert kills >= 2 * nodes
