"""A chain on which blocks are approved and checkpoints voted on."""

from dataclasses import replace
from functools import cache

import pytest

from p2pai.chain import transition, votes
from p2pai.chain.votes import CheckpointVote
from p2pai.primitives.errors import InvalidTransaction
from tests.chain.ledger import VERIFIERS, Chain, devnet, keys, label

EVERY = 8
"""Blocks between checkpoints here; W is 4 on the test's chain."""

WINDOW = 4
OPENS = EVERY + WINDOW


class Voters(Chain):
    """A chain whose verifiers approve what they should, and whose owners vote."""

    def grow(self, height, approvers=VERIFIERS):
        """Mine up to a height, each block approved by the next one."""
        while self.height < height:
            if approvers and self.blocks:
                self.approve(self.blocks[-1], approvers)
            self.mine()

    @property
    def voting(self):
        return self.pool.voting

    def state_at(self, height):
        """Return the ledger after a block of this chain."""
        state = Chain(self.spec).state
        for block in self.blocks[:height]:
            state = transition.apply_block(state, block, self.params, trusted=True)
        return state

    def vote(self, ticket, **changes) -> CheckpointVote:
        """Sign a vote as the ticket's owner; for the candidate's block and its true snapshot by default."""
        values = {"height": self.voting.height, "block": self.voting.block, "snapshot": SNAPSHOT, **changes}
        owner = keys(self.account(ticket)).spending
        return votes.cast(owner, self.state.chain, ticket, **values)

    def cast(self, ticket, **changes):
        return self.post(self.account(ticket), self.vote(ticket, **changes))

    def refuse(self, account, data, reason, error=InvalidTransaction):
        before = self.pool
        with pytest.raises(error, match=reason):
            transition.apply_transaction(self.pool, self.fund(account, data), self.params)
        assert self.pool is before


SNAPSHOT = label("snapshot")


def quick(**params):
    spec = devnet()
    return replace(spec, params=replace(spec.params, checkpoint_blocks=EVERY, **params))


PAYERS = range(10)
"""Accounts whose payment makes another block, and so another draw."""


@cache
def opened():
    """A chain on which the block at height EVERY is voted on, since this very block; nobody may change it.

    The validators drawn on it include a ticket that works on a task.
    """
    chain = Voters(quick())
    chain.grow(EVERY - 1)
    found = (branch for branch in branches(chain) if busy(branch))
    return next(found)


def branches(chain):
    """Return chains that differ from the block at height EVERY on, on which that block is voted on."""
    for payer in PAYERS:
        branch = Voters(chain.spec)
        for block in chain.blocks[: EVERY - 1]:
            branch.connect(block)
        branch.precursors.update(chain.precursors)
        branch.add(branch.fund(payer))
        branch.grow(OPENS)
        yield branch


def busy(chain):
    """Return the validators' tickets that work on a task."""
    return [ticket for ticket in chain.voting.validators if chain.state.tickets[ticket].task is not None]
