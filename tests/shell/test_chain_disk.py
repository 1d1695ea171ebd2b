"""Targets: a chain that was exported is the same when it is imported, block by block with all checks; what is
wrong is said and what came before is kept; verifying finds what only a check of everything finds, and changes
nothing.

Real blocks on a real disk; only the chain spec is that of tests/chain/ledger.py, which no file describes.
"""

from contextlib import closing
from dataclasses import replace
from io import BytesIO

import pytest

from p2pai import effects
from p2pai.chain.snapshot import snapshot_id
from p2pai.node.archive import Kept, read_kept
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId
from p2pai.shell import chain_disk, chain_file, config
from p2pai.shell.chain_disk import Disk, Imported, take_in, verify
from p2pai.shell.store import Store, read_store
from tests.chain.ledger import MINERS, Chain, devnet, label, public, with_proof
from tests.chain.voters import EVERY, OPENS, Voters, quick
from tests.node.parts import grown, payment


@pytest.fixture(autouse=True)
def spec(monkeypatch):
    monkeypatch.setattr(chain_disk, "load_spec", lambda _: devnet())


@pytest.fixture(scope="module")
def chain():
    """Four blocks with a payment and a verdict; nobody changes it."""
    made = Chain()
    made.add(payment(made))
    first = made.mine()
    made.approve(first)
    made.mine_until(4)
    return made


@pytest.fixture
def directory(tmp_path):
    """Of a node that has run and heard of no block."""
    path = tmp_path / "node"
    config.save(config.NodeRecord(config.Config(path, "devnet"), PeerId("peer7"), public(7)))
    Store.open(path).close()
    return path


def packed(blocks, chain_id=None):
    stream = BytesIO()
    chain_file.write(stream, chain_id or devnet().id, [block.encoded for block in blocks])
    return BytesIO(stream.getvalue())


def imported(directory, blocks):
    done = Imported()
    take_in(directory, packed(blocks), done)
    return done


class TestImport:
    def test_the_chain_is_there_afterwards(self, directory, chain):
        assert imported(directory, chain.blocks) == Imported(new=4, known=0, height=4)
        assert snapshot_id(Disk(directory).state) == snapshot_id(chain.state)

    def test_a_second_time_changes_nothing(self, directory, chain):
        imported(directory, chain.blocks)
        before = read_store(directory)[0]
        assert imported(directory, chain.blocks) == Imported(new=0, known=4, height=4)
        assert read_store(directory)[0] == before

    def test_in_two_files(self, directory, chain):
        imported(directory, chain.blocks[:2])
        assert imported(directory, chain.blocks[1:]) == Imported(new=2, known=1, height=4)

    def test_many_at_once_and_progress(self, directory, chain, monkeypatch):
        monkeypatch.setattr(chain_disk, "GROUP", 2)
        told = []
        take_in(directory, packed(chain.blocks), Imported(), told.append)
        assert told == [2, 4]

    def test_it_stops_at_a_bad_block_and_keeps_what_came_before(self, directory, chain):
        bad = with_proof(chain.blocks[2], batch_path=())
        done = Imported()
        with pytest.raises(InvalidInput, match=r"^block 3 of the file, [0-9a-f]{16}, is refused: .*is kept$"):
            take_in(directory, packed([*chain.blocks[:2], bad, chain.blocks[3]]), done)
        assert done == Imported(new=2, known=0, height=2)
        assert Disk(directory).state.tip == chain.blocks[1].hash

    def test_blocks_that_do_not_follow(self, directory, chain):
        with pytest.raises(InvalidInput, match=r"block 1 of the file, .* is refused: .*parent"):
            imported(directory, chain.blocks[1:])

    def test_a_file_that_is_cut_off_gives_what_is_whole(self, directory, chain):
        data = packed(chain.blocks).getvalue()
        done = Imported()
        with pytest.raises(InvalidInput, match="cut off"):
            take_in(directory, BytesIO(data[:-36]), done)
        assert done == Imported(new=4, known=0, height=4)

    def test_another_chains_file(self, directory, chain):
        with pytest.raises(InvalidInput, match="the blocks are of chain 0000000000000000"):
            take_in(directory, packed(chain.blocks, bytes(32)), Imported())

    def test_a_running_node_keeps_its_directory(self, directory, chain):
        with closing(Store.open(directory)), pytest.raises(Unavailable, match="another node is running"):
            imported(directory, chain.blocks)

    def test_there_must_have_been_a_node(self, tmp_path, chain):
        with pytest.raises(Unavailable, match="p2pai start"):
            imported(tmp_path, chain.blocks)


class TestExport:
    def test_what_was_imported_comes_out_again(self, directory, chain):
        imported(directory, chain.blocks)
        assert list(Disk(directory).blocks(1, 4)) == [block.encoded for block in chain.blocks]
        assert list(Disk(directory).blocks(2, 3)) == [block.encoded for block in chain.blocks[1:3]]

    def test_of_the_best_chain_alone(self, directory, chain):
        imported(directory, [*grown(1, miner=MINERS[1]).blocks, *chain.blocks])
        assert list(Disk(directory).blocks(1, 4)) == [block.encoded for block in chain.blocks]

    def test_a_block_that_is_not_there(self, directory, chain):
        imported(directory, chain.blocks)
        with pytest.raises(Unavailable, match="block 5 is damaged or missing"):
            Disk(directory).block(5)

    def test_beside_a_running_node(self, directory, chain):
        imported(directory, chain.blocks)
        with closing(Store.open(directory)):
            assert Disk(directory).state.height == 4


class TestVerify:
    def test_a_sound_chain(self, directory, chain):
        imported(directory, chain.blocks)
        told = []
        found = verify(Disk(directory), told.append)
        assert (found.blocks, found.snapshot) == (4, snapshot_id(chain.state))
        assert told == [1, 2, 3, 4]

    def test_it_changes_nothing(self, directory, chain):
        imported(directory, chain.blocks)
        before = {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix == ".db"}
        with closing(Store.open(directory)):
            verify(Disk(directory))
        assert {name: (directory / name).read_bytes() for name in before} == before

    def test_a_work_proof_that_does_not_hold(self, directory, chain):
        """A restart trusts its disk; only this looks again."""
        imported(directory, chain.blocks)
        spoil(directory, [with_proof(chain.blocks[2], batch_path=()), chain.blocks[3]], 3)
        assert Disk(directory).state.tip == chain.state.tip
        with pytest.raises(InvalidInput, match=r"^block 3, [0-9a-f]{16}, breaks a rule: "):
            verify(Disk(directory))

    def test_a_state_that_the_blocks_do_not_lead_to(self, directory, chain):
        imported(directory, chain.blocks)
        disk = Disk(directory)
        real = disk.state
        disk._core.ledger.tree._branches[real.tip] = replace(
            disk._core.ledger.tree.get(real.tip), state=replace(real, burned=real.burned + 1)
        )
        with pytest.raises(InvalidInput, match="another state at height 4 than the node holds"):
            verify(disk)


class TestCheckpoints:
    """A chain whose block at height 8 became a checkpoint, so that a restart begins there."""

    @pytest.fixture(autouse=True)
    def quick_spec(self, monkeypatch):
        monkeypatch.setattr(chain_disk, "load_spec", lambda _: quick())

    @pytest.mark.parametrize("is_true", [True, False])
    def test_are_compared_with_what_the_blocks_lead_to(self, directory, is_true):
        chain = voted(is_true=is_true)
        take_in(directory, packed(chain.blocks, chain.spec.id), Imported())
        disk = Disk(directory)
        assert disk.snapshot is not None
        assert list(disk.blocks(1, chain.height)) == [block.encoded for block in chain.blocks]
        if is_true:
            assert verify(disk).checkpoints == 2
        else:
            with pytest.raises(InvalidInput, match="the checkpoint at height 8 is of another state"):
                verify(disk)


def voted(*, is_true):
    """Return a chain whose validators took block 8 for final, with its true state or another."""
    chain = Voters(quick())
    chain.grow(OPENS)
    named = snapshot_id(chain.state_at(EVERY)) if is_true else label("false")
    for ticket in chain.voting.validators[: chain.params.checkpoint_votes]:
        chain.cast(ticket, snapshot=named)
    chain.mine()
    assert chain.state.checkpoint.height == EVERY
    return chain


def spoil(directory, blocks, height):
    """Put other bodies in the place of stored blocks."""
    with closing(Store.open(directory)) as store:
        for at, block in enumerate(blocks, start=height):
            kept = read_kept(store.archive.body(block.hash))
            body = record.encode(Kept(block.encoded, kept.miner, kept.verifiers))
            store.write_all([effects.StoreBlock(1, block.hash, at, body)])
