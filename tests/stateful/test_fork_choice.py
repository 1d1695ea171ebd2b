"""Target: in whatever order blocks arrive, the tree stands on the best of all chains, recomputed naively.

Random trees of real blocks, with approvals; blocks come late, twice, before their parents; some are proven
false, before or after their children are known. The model keeps a set of hashes: a block counts when it and
all its ancestors have come and none is false; its weight is what `Books` reads off its chain.
"""

from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.fraud import Judgement
from p2pai.chain.snapshot import snapshot_id
from p2pai.primitives.errors import InvalidBlock, Unavailable
from testnet.simulator.invariants.replays import check_replay
from tests.chain.ledger import MINERS, Chain, devnet, genesis, label
from tests.stateful.books import Books
from tests.stateful.test_ledger import FEW

numbers = st.integers(0, 2**32)


class TreeMachine(RuleBasedStateMachine):
    @initialize()
    def start(self):
        root = Chain()
        self.root = root.state.tip
        self.chains = {self.root: root}
        """The chain up to each block that was made."""
        self.weights = {self.root: 0}
        self.come, self.false, self.refused = {self.root: None}, {}, {}
        self.tree, self.picked = BlockTree(devnet()), 0
        self.best = [self.root]
        """The best chain, as a node follows it by what each change says."""

    def pick(self, blocks, number):
        """Return any of some blocks; the same number gives another one each time."""
        self.picked += 1
        return Random(f"{number} {self.picked}").choice(sorted(blocks))

    @rule(
        number=numbers,
        miner=st.sampled_from(MINERS),
        approved=st.sampled_from([0, 3, 1]),
        more=st.integers(0, 2),
        late=st.booleans(),
    )
    def make(self, number, miner, approved, more, late):
        """Somebody mines a few blocks on any block; perhaps that one is approved in the first of them."""
        name = self.pick(self.chains, number)
        for i in range(1 + more):
            name = self.make_one(name, number, miner, 0 if i else approved)
            if not late:
                self.bring(name)

    def make_one(self, parent, number, miner, approved):
        chain = self.chains[parent].fork()
        if approved and chain.blocks and chain.blocks[-1].hash in chain.state.verifications:
            chain.approve(chain.blocks[-1], (1, 2, 3)[:approved])
        time = chain.state.times[-1] + 1 + number % 7
        block = chain.mine(miner=miner, time=time)
        self.chains.setdefault(block.hash, chain)
        self.weights[block.hash] = Books(genesis(devnet()), devnet().params, chain.blocks).weight
        return block.hash

    @precondition(lambda self: len(self.chains) > 1)
    @rule(number=numbers)
    def arrive(self, number):
        """A block comes, for the first time or again, with its parent here or not."""
        self.bring(self.pick([b for b in self.chains if b != self.root], number))

    def bring(self, name):
        parent = self.parent(name)
        try:
            self.follow(self.tree.add(self.chains[name].blocks[-1]))
        except Unavailable:
            assert parent not in self.counting()
            return
        except InvalidBlock:
            assert self.is_false(name)
            return
        self.come[name] = None
        assert parent in self.counting()

    @precondition(lambda self: len(self.counting()) > 3)
    @rule(number=numbers)
    def prove_false(self, number):
        """A replay finds a block false that is in the tree."""
        name = self.pick([b for b in self.counting() if b != self.root], number)
        chain = self.chains[name]
        ticket = chain.blocks[-1].work_proof.ticket
        self.tree.judged[name] = Judgement(chain.height, ticket, label("found"), "message map")
        self.false[name] = None
        self.follow(self.tree.convict(name))

    def follow(self, switch):
        """Carry a change of the best chain out as a node does."""
        for block in switch.left:
            assert self.best.pop() == block.hash
        for block in switch.joined:
            assert self.best[-1] == block.header.prev
            self.best.append(block.hash)

    # --- the model

    def parent(self, name):
        return self.chains[name].blocks[-1].header.prev

    def is_false(self, name):
        return name in self.false or (name != self.root and self.is_false(self.parent(name)))

    def counts(self, name):
        return name == self.root or (
            name in self.come and name not in self.false and self.counts(self.parent(name))
        )

    def counting(self):
        return [name for name in self.come if self.counts(name)]

    def naive_best(self):
        def rank(name):
            return self.weights[name], self.chains[name].height, -int.from_bytes(name, "big")

        return max(self.counting(), key=rank)

    @invariant()
    def the_tip_is_the_best(self):
        assert self.tree.state.tip == self.naive_best()

    @invariant()
    def the_best_chain_leads_to_it(self):
        path = [self.root, *(b.hash for b in self.chains[self.naive_best()].blocks)]
        assert self.best == path
        assert [self.tree.at_height(h).state.tip for h in range(len(path))] == path
        assert all(self.tree.is_best(name) == (name in path) for name in self.counting())

    @invariant()
    def the_tree_has_what_counts(self):
        assert sorted(branch.state.tip for branch in self.tree.branches()) == sorted(self.counting())

    def teardown(self):
        """Undone and done again as often as may be, the state is that of the chain replayed."""
        chain = self.chains[self.naive_best()]
        assert snapshot_id(self.tree.state) == snapshot_id(chain.state)
        check_replay(devnet(), chain.blocks, self.tree.state)


TestTree = TreeMachine.TestCase
TestTree.settings = FEW
