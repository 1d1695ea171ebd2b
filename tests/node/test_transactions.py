"""Targets: a transaction is found wherever it stands and told in full; what is not known is not made up."""

from dataclasses import replace

import pytest

from p2pai.chain.transaction import PayForTask, Stake
from p2pai.node import transactions
from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount
from tests.chain.ledger import CLIENT, Chain, definition, key_hash
from tests.node.parts import Driven, payment


@pytest.fixture
def node():
    return Driven()


def show(node, tx, **more):
    return node.core.query("tx.show", {"tx": tx.txid.hex(), **more})


def text(account):
    return address.encode("dpai", key_hash(account))


class TestWhere:
    def test_in_the_mempool(self, node):
        chain = Chain()
        parent, child = chain.add(payment(chain)), chain.add(payment(chain))
        for tx in (parent, child):
            node.hear("tx", tx.encoded)
        answer = show(node, child)
        assert (answer["where"], answer["block"], answer["type"]) == ("mempool", None, "TRANSFER")
        assert answer["fee"] == 2_000
        assert answer["signatures_valid"] is True
        (spent,) = answer["inputs"]
        change = parent.outputs[-1]
        assert spent == {
            "outpoint": f"{parent.txid.hex()}:{len(parent.outputs) - 1}",
            "kind": "pay",
            "value": change.value,
            "address": address.encode("dpai", change.key_hash),
        }

    def test_in_a_block(self, node):
        chain = Chain()
        first = chain.add(payment(chain))
        second = chain.add(payment(chain))
        block = chain.mine()
        chain.mine()
        node.hear_chain(chain)
        answer = show(node, second)
        assert answer["where"] == "block"
        assert answer["block"] == {
            "height": 1,
            "hash": block.hash.hex(),
            "time": block.header.time,
            "confirmations": 2,
        }
        assert answer["inputs"][0]["value"] == first.outputs[-1].value
        assert show(node, first)["fee"] == 2_000

    def test_by_its_first_digits(self, node):
        chain = Chain()
        tx = chain.add(payment(chain))
        node.hear("tx", tx.encoded)
        assert node.core.query("tx.show", {"tx": tx.txid.hex()[:8].upper()})["txid"] == tx.txid.hex()

    def test_a_part_of_the_chain_at_a_time(self, node, monkeypatch):
        monkeypatch.setattr(transactions, "BLOCKS_MAX", 2)
        chain = Chain()
        tx = chain.add(payment(chain))
        chain.mine_until(4)
        node.hear_chain(chain)
        assert show(node, tx) == {"found": False, "below": 3}
        assert show(node, tx, below=3)["block"]["height"] == 1
        assert show(node, tx, below=1) == {"found": False, "below": 0}

    @pytest.mark.parametrize("tx", ["", "abc", "xy" * 32, "ab" * 33])
    def test_what_is_no_txid(self, node, tx):
        with pytest.raises(InvalidInput, match="at least 8 hexadecimal digits"):
            node.core.query("tx.show", {"tx": tx})

    @pytest.mark.parametrize("below", [-1, "1", True])
    def test_what_is_no_height(self, node, below):
        with pytest.raises(InvalidInput, match="a height is a whole number"):
            node.core.query("tx.show", {"tx": "ab" * 32, "below": below})


class TestWhatItSays:
    def test_a_coinbase(self, node):
        chain = Chain()
        chain.add(payment(chain))
        block = chain.mine()
        node.hear_chain(chain)
        answer = show(node, block.transactions[0])
        assert (answer["type"], answer["inputs"], answer["fee"]) == ("COINBASE", [], None)
        assert answer["signatures_valid"] is None
        assert answer["data"]["height"] == 1
        assert answer["outputs"][0]["value"] == 2_000

    def test_data_by_name(self, node):
        chain = Chain()
        block = chain.mine()
        tx = chain.add(chain.fund(1, chain.commit(block, 1)))
        chain.mine()
        node.hear_chain(chain)
        assert show(node, tx)["data"] == {
            "block": block.hash.hex(),
            "ticket": str(tx.data.ticket),
            "commitment": tx.data.commitment.hex(),
        }

    def test_a_task(self, node):
        chain = Chain()
        data = PayForTask(definition(), chain.state.times[0])
        tx = chain.post(CLIENT, data, (Stake(Amount(1_000_000), key_hash(CLIENT)),))
        node.hear("tx", tx.encoded)
        answer = show(node, tx)
        assert answer["data"]["definition"]["epochs"] == 2
        assert answer["data"]["replaces"] is None
        assert answer["outputs"][0] == {"kind": "stake", "value": 1_000_000, "address": text(CLIENT)}

    def test_everything_that_a_ledger_can_hold(self, node):
        """Each kind of record of a task's whole life is told in JSON's types."""
        chain = Chain()
        task_id = chain.start()
        chain.end_training(task_id)
        chain.evaluate(task_id)
        chain.mine()
        node.hear_chain(chain)
        kinds = set()
        for block in chain.blocks:
            for tx in block.transactions:
                answer = show(node, tx)
                assert answer["found"]
                kinds.add(answer["type"])
        assert kinds >= {"COINBASE", "PAY_FOR_TASK", "JOIN_TASK", "DKG_DEAL", "EVALUATE_REVEAL"}

    def test_a_wrong_signature_would_be_seen(self, node):
        tx = payment(Chain())
        other = payment(Chain(), value=1)
        spoilt = replace(tx, witnesses=other.witnesses)
        assert transactions._signatures(node.core, tx) is True
        assert transactions._signatures(node.core, spoilt) is False

    def test_what_was_spent_too_far_back_is_not_made_up(self, node, monkeypatch):
        chain = Chain()
        chain.add(payment(chain))
        chain.mine_until(3)
        tx = chain.add(payment(chain))
        chain.mine()
        node.hear_chain(chain)
        monkeypatch.setattr(transactions, "BLOCKS_MAX", 2)
        answer = show(node, tx)
        assert answer["inputs"][0]["value"] is None
        assert answer["fee"] is None
