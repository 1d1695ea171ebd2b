"""Targets: the chain in short is what the ledger says, and money is where the ledger has it, to the atom."""

import pytest

from p2pai.chain import difficulty
from p2pai.primitives.ids import ZERO_HASH
from tests.chain.ledger import CLIENT, EASY, MINERS, Chain, devnet, genesis
from tests.node.parts import Driven, grown, payment


@pytest.fixture
def node():
    return Driven()


def by_role(answer):
    return {row["role"]: row for row in answer["tickets"]}


class TestChainStatus:
    def test_of_genesis(self, node):
        answer = node.core.query("chain.status", {})
        assert (answer["chain"], answer["chain_id"]) == ("devnet", devnet().id.hex())
        assert (answer["height"], answer["weight"], answer["side_branches"]) == (0, 0, [])
        assert answer["checkpoint"] == {
            "height": 0,
            "block": node.core.state.tip.hex(),
            "snapshot": ZERO_HASH.hex(),
        }
        assert answer["next_bits"] == f"{EASY:08x}"
        assert answer["next_work"] == difficulty.work(difficulty.decode_bits(EASY))
        assert answer["mempool"] == {"count": 0, "bytes": 0, "fee_rate_min": 1}

    def test_tickets_by_role_and_stage(self, node):
        chain = Chain()
        chain.add(chain.buy(8, "verifier", count=2))
        chain.mine()
        before = by_role(node.core.query("chain.status", {}))
        node.hear_chain(chain)
        after = by_role(node.core.query("chain.status", {}))
        assert after["verifier"] == {**before["verifier"], "immature": 2}
        assert before["miner"]["working"] == len(MINERS)

    def test_side_branches_and_what_waits(self, node):
        chain, other = grown(3), grown(1, miner=MINERS[1])
        node.hear_chain(chain)
        node.hear("block", other.blocks[0].encoded)
        tx = payment(chain)
        node.hear("tx", tx.encoded)
        answer = node.core.query("chain.status", {})
        assert (answer["height"], answer["tip"]) == (3, chain.state.tip.hex())
        assert answer["time"] == chain.state.times[-1]
        assert answer["side_branches"] == [{"height": 1, "tip": other.state.tip.hex()}]
        assert answer["mempool"] == {"count": 1, "bytes": tx.size, "fee_rate_min": 1}


class TestSupply:
    def test_what_tasks_and_tickets_hold(self):
        chain = Chain()
        task_id = chain.submit(fee=1_234_567)
        node = Driven(CLIENT)
        node.hear_chain(chain)
        answer = node.core.query("supply", {})
        assert (answer["height"], answer["staked_by_tasks"], answer["captured"]) == (1, 1_234_567, 0)
        assert answer["staked_by_tickets"] == len(chain.state.tickets) * devnet().params.ticket_price_atoms
        assert answer["genesis"] == genesis(devnet()).issued == answer["issued"]
        assert answer["subsidies"] == 0
        assert chain.state.tasks[task_id].fee == 1_234_567
