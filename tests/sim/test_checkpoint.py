"""NodeCore and the ledger: checkpoints are certified while the network works, and by nobody who should not.

What: real nodes over simulated gossip, predefined task alone; a checkpoint every four blocks. How: nodes are
cut off or dishonest, and the test looks at who certified what.
"""

from dataclasses import replace

import pytest

from p2pai.chain import votes
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import VoteEquivocation
from p2pai.primitives.ids import Hash32
from testnet.simulator.network import name_of, network, quick_spec

pytestmark = pytest.mark.usefixtures("shared")

EVERY = 4
EVERYONE = (1, 2, 3, 4, 5, 6, 7)


def frequent(seed, accounts=EVERYONE):
    spec = quick_spec()
    params = replace(spec.params, checkpoint_blocks=EVERY)
    return network(seed, accounts=accounts, spec=replace(spec, params=params))


def certified(net, account=1):
    return net.core(account).state.checkpoint


def test_checkpoints_are_certified_and_who_votes_twice_is_slashed():
    net = frequent(51)
    assert net.world.run(lambda: certified(net).height == EVERY, 240), certified(net)
    core, made = net.core(7), certified(net)
    assert net.settle()
    branch = core.ledger.tree.get(made.block)
    assert branch.state.height == made.height
    assert snapshot_id(branch.state) == made.snapshot, "a true snapshot"
    assert net.invariants.agreement.counts["checkpoint"] >= net.spec.params.checkpoint_votes
    assert core.state.burned == 0
    net.invariants.honesty.distrust(name_of(5))
    check_slashing(net, net.core(5))
    assert net.settle()
    net.check()
    assert net.world.rejected == []


def check_slashing(net, liar):
    ticket = min(t for t, k in liar.state.tickets.items() if k.owner == liar.identity.public)
    for number in (1, 2):
        block = Hash32(bytes([number]) * 32)
        vote = votes.cast(liar.identity.keys.spending, net.spec.id, ticket, EVERY, block, block)
        for core in net.cores.values():
            core.validator.heard(vote)
    cores = net.cores.values()
    assert net.world.run(lambda: all(ticket not in core.state.utxos for core in cores), 120)
    best = net.core(7).ledger.tree
    blocks = [best.block_at(h) for h in range(EVERY, net.core(7).state.height + 1)]
    posted = [tx for b in blocks for tx in b.transactions if isinstance(tx.data, VoteEquivocation)]
    assert len(posted) == 1, "once is enough"


@pytest.mark.slow
def test_restarts_forget_no_vote():
    net = frequent(52)
    for account in EVERYONE * 2:
        net.world.run(lambda: False, 6)
        net.restart(account, down_ms=500)
    assert net.world.run(lambda: certified(net).height >= 2 * EVERY, 300), certified(net)
    assert net.settle()
    net.check()
    assert net.core(7).state.burned == 0, "nobody voted twice"


@pytest.mark.slow
def test_with_too_few_validators_others_are_drawn_until_it_is_reached():
    """Two of six owners are away: most draws still have three of four, some do not."""
    net = frequent(53)
    assert net.world.run(lambda: net.core(1).state.height >= 2, 60)
    away = (3, 6)
    net.world.isolate(*map(name_of, away))
    draws = {}

    def watch(name, event, reaction):
        state = net.core(1).state
        if name == name_of(1) and state.voting is not None:
            draws.setdefault(state.voting.height, {})[state.voting.validators] = state.checkpoint.height

    net.world.watchers.append(watch)
    assert net.world.run(
        lambda: any(len(d) > 1 and certified(net).height >= h for h, d in draws.items()), 900
    )
    away_keys = [net.core(account).identity.public for account in away]
    state = net.core(1).state
    height = next(h for h, d in draws.items() if len(d) > 1)
    lacking = next(iter(draws[height]))
    owners = [state.tickets[t].owner for t in lacking]
    assert sum(owner in away_keys for owner in owners) == 2, "the first draw was without a majority"
