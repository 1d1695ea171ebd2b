"""Targets: a good order is carried out once, a bad one fails with one sentence, and nothing that a local user
may write stops the node.

A real core of a client; the test is its trainer.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai import effects, events, jobs
from p2pai.chain.spec import dense_layers
from p2pai.chain.state import Stage
from p2pai.chain.task import Group, Reward, TaskDefinition
from p2pai.chain.training import EarlyStopping, Loss, Tau
from p2pai.chain.transaction import PayForTask, Stake, Transaction, Transfer
from p2pai.node.journal import TransactionPosted, read
from p2pai.node.orders import submission_id
from p2pai.primitives import address, cbor
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId
from p2pai.roles.client import TaskPosted
from p2pai.shell import rpc
from tests.chain.ledger import CLIENT, FRAGMENTS, Chain, devnet, key_hash, label
from tests.node.parts import Driven, of, said

COIN = 10**8
RECEIVER = address.encode(devnet().prefix, key_hash(9))
DATA = "package:digits.npz"


def definition(**changes):
    """A task as the CLI sends it: a record whose data are not known yet."""
    task = devnet().tasks[0]
    unknown = replace(
        task.dataset, samples=0, features=0, classes=0, fragments=(BlobId(label("unknown")),) * 10
    )
    draft = replace(
        task,
        name="digits",
        input_shape=(),
        layers=dense_layers([16], 10),
        epochs=2,
        dataset=unknown,
        reward=Reward(70, 15, 15),
        expected_blocks=60,
    )
    return replace(draft, **changes).encode().hex()


def task_order(**changes):
    return {"definition": definition(), "data": DATA, "fee": 5 * COIN, **changes}


PREPARED = jobs.Prepared(1797, 64, 10, 0, tuple(BlobId(f) for f in FRAGMENTS))


@pytest.fixture
def client():
    return Driven(CLIENT, roles=("client",))


@pytest.fixture
def payer():
    return Driven(7)


def prepare(node, result=PREPARED):
    """Let the trainer do the jobs it has; return how the core reacts."""
    jobs_asked = of(node.effects, effects.Train)
    node.effects.clear()
    return [effect for job in jobs_asked for effect in node.give(events.Trained(job.request, result))]


def failed(answer):
    """An order that failed: with one sentence, and nothing else."""
    assert answer["state"] == "failed", answer
    assert answer["task"] is None
    assert answer["txid"] is None
    assert "\n" not in answer["error"]
    assert 10 < len(answer["error"]) < 200
    return answer["error"]


class TestSendingMoney:
    def test_it_is_posted_and_announced_when_durable(self, payer):
        answer = payer.order("wallet.send", address=RECEIVER, atoms=3 * COIN)
        assert (answer["state"], answer["task"], answer["error"]) == ("posted", None, None)
        (data,) = said(payer.persist(), "tx")
        tx = Transaction.decode(data)
        assert tx.txid.hex() == answer["txid"]
        assert tx.data == Transfer()
        assert (tx.outputs[0].value, tx.outputs[0].key_hash) == (3 * COIN, key_hash(9))

    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ({"atoms": 1}, "the order lacks or misuses 'address'"),
            ({"address": RECEIVER}, "the order lacks or misuses 'atoms'"),
            ({"address": RECEIVER, "atoms": 0}, "an amount is a positive whole number of atoms"),
            ({"address": RECEIVER, "atoms": "1"}, "an amount is a positive whole number of atoms"),
            ({"address": RECEIVER, "atoms": True}, "an amount is a positive whole number of atoms"),
            ({"address": RECEIVER, "atoms": None}, "an amount is a positive whole number of atoms"),
            ({"address": RECEIVER, "atoms": 2**63}, "an amount is a positive whole number of atoms"),
            ({"address": RECEIVER, "atoms": 1_000 * COIN}, "the wallet cannot pay that amount and the fee"),
            ({"address": RECEIVER, "atoms": 2**62}, "the wallet cannot pay that amount and the fee"),
            ({"address": "nowhere", "atoms": 1}, "not an address"),
            ({"address": RECEIVER[:-1] + "q", "atoms": 1}, "mistyped"),
            ({"address": address.encode("pai", key_hash(9)), "atoms": 1}, "another network"),
            ({"address": 7, "atoms": 1}, "not an address"),
        ],
        ids=str,
    )
    def test_a_bad_order_fails_with_one_sentence(self, payer, params, error):
        assert error in failed(payer.order("wallet.send", **params))
        assert payer.pending == {}

    def test_the_same_order_twice_is_one(self, payer):
        """Who does not hear the answer says it again; it must not pay twice."""
        first = payer.order("wallet.send", address=RECEIVER, atoms=COIN)
        assert payer.order("wallet.send", address=RECEIVER, atoms=COIN) == first
        assert len(said(payer.persist(), "tx")) == 1

    def test_two_orders_are_two(self, payer):
        """What tells them apart is a parameter that means nothing else."""
        answers = [payer.order("wallet.send", address=RECEIVER, atoms=COIN, order=n) for n in ("1", "2")]
        assert answers[0]["txid"] != answers[1]["txid"]
        assert len(said(payer.persist(), "tx")) == 2

    def test_one_that_failed_may_be_ordered_again(self, payer):
        everything = {"address": RECEIVER, "atoms": 1_000 * COIN - 1}
        failed(payer.order("wallet.send", **everything))
        assert failed(payer.order("wallet.send", **everything))


class TestSubmittingTasks:
    def test_first_the_data_is_prepared(self, client):
        answer = client.order("task.submit", **task_order())
        assert answer == {"state": "preparing", "task": None, "txid": None, "error": None}
        (train,) = of(client.effects, effects.Train)
        assert train.job == jobs.Prepare(DATA, "npz", regression=False, batch_size=30, fragment_count=10)
        assert client.pending == {}

    def test_then_the_task_is_posted(self, client):
        client.order("task.submit", **task_order())
        prepare(client)
        answer = client.submission(cbor.encode(task_order()))
        assert answer["state"] == "posted"
        assert answer["task"] == answer["txid"]
        (data,) = said(client.persist(), "tx")
        tx = Transaction.decode(data)
        assert tx.txid.hex() == answer["task"]
        assert tx.outputs[0] == Stake(5 * COIN, key_hash(CLIENT))

    def test_the_definition_is_the_users_with_the_datas_figures(self, client):
        client.order("task.submit", **task_order())
        prepare(client)
        data = Transaction.decode(said(client.persist(), "tx")[0]).data
        assert isinstance(data, PayForTask)
        assert data.timestamp == client.core.state.median_time
        task = data.definition
        assert task.layers == dense_layers([16], 10)
        assert task.input_shape == (64,)
        assert (task.dataset.samples, task.dataset.features, task.dataset.classes) == (1797, 64, 10)
        assert task.dataset.fragments == PREPARED.fragments
        assert (task.client, task.expected_blocks, task.preferences) == ("peer0", 60, (1, 1))

    def test_the_same_order_twice_is_one(self, client):
        client.order("task.submit", **task_order())
        client.order("task.submit", **task_order())
        assert len(of(client.effects, effects.Train)) == 1
        prepare(client)
        first = client.submission(cbor.encode(task_order()))
        assert client.order("task.submit", **task_order()) == first
        assert of(client.effects, effects.Train) == []
        assert len(said(client.persist(), "tx")) == 1

    def test_after_a_restart_it_is_still_one(self, client):
        client.order("task.submit", **task_order())
        prepare(client)
        client.persist()
        posted = client.submission(cbor.encode(task_order()))
        again = client.restarted(roles=("client",))
        assert again.submission(cbor.encode(task_order())) == posted
        assert again.order("task.submit", **task_order()) == posted
        assert of(again.effects, effects.Train) == []

    def test_what_makes_it_one_is_written_with_the_task(self, client):
        client.order("task.submit", **task_order())
        prepare(client)
        client.persist()
        assert {type(read(data)) for data in client.disk.journal} == {TransactionPosted, TaskPosted}

    def test_a_crash_between_the_two_notes_does_not_pay_twice(self, client):
        """Whatever part of the journal is left: either the order is known or its transaction is gone."""
        client.order("task.submit", **task_order())
        prepare(client)
        client.persist()
        for count in range(len(client.writes) + 1):
            again = client.restarted(count, roles=("client",))
            again.order("task.submit", **task_order())
            prepare(again)
            again.persist()
            assert len(again.core.ledger.mempool) == 1, count

    def test_an_order_that_failed_may_be_repeated(self, client):
        client.order("task.submit", **task_order())
        prepare(client, jobs.Failed("the file is not there"))
        assert failed(client.submission(cbor.encode(task_order()))) == "the file is not there"
        assert client.order("task.submit", **task_order())["state"] == "preparing"
        prepare(client)
        assert client.submission(cbor.encode(task_order()))["state"] == "posted"

    def test_a_trainer_that_answers_something_else(self, client):
        client.order("task.submit", **task_order())
        prepare(client, jobs.Validated(()))
        assert failed(client.submission(cbor.encode(task_order()))) == "the data was not prepared"

    def test_more_than_the_wallet_holds(self, client):
        params = task_order(fee=10_000 * COIN)
        client.order("task.submit", **params)
        prepare(client)
        assert failed(client.submission(cbor.encode(params))) == "the wallet cannot pay the fee"
        assert client.pending == {}

    def test_a_node_that_is_no_client(self, payer):
        error = failed(payer.order("task.submit", **task_order()))
        assert error == "this node is no client; start it with --role client to submit tasks"

    @pytest.mark.parametrize("missing", ["definition", "data", "fee"])
    def test_a_part_that_is_missing_is_named(self, client, missing):
        params = task_order()
        del params[missing]
        assert failed(client.order("task.submit", **params)) == f"the order lacks or misuses '{missing}'"

    def test_numbers_as_labels_are_prepared_as_such(self, client):
        numbers = definition(loss=Loss.MSE, metrics=("rmse",), layers=dense_layers([16], 2))
        client.order("task.submit", **task_order(definition=numbers))
        (train,) = of(client.effects, effects.Train)
        assert train.job == jobs.Prepare(DATA, "npz", regression=True, batch_size=30, fragment_count=10)
        prepare(client, replace(PREPARED, classes=0, targets=2))
        dataset = Transaction.decode(said(client.persist(), "tx")[0]).data.definition.dataset
        assert (dataset.classes, dataset.targets) == (0, 2)

    @pytest.mark.parametrize(
        ("given_definition", "error"),
        [
            (7, "the definition is not in hexadecimal"),
            (None, "the definition is not in hexadecimal"),
            ("xyz", "the definition is not in hexadecimal"),
            ("", "CBOR"),
            ("80", "TaskDefinition needs"),
            (definition()[:-2], "CBOR"),
            (TaskDefinition.encode(devnet().tasks[0]).hex()[:100], "CBOR"),
        ],
        ids=str,
    )
    def test_a_definition_that_is_none_fails_at_once(self, client, given_definition, error):
        assert error in failed(client.order("task.submit", **task_order(definition=given_definition)))
        assert of(client.effects, effects.Train) == []

    @pytest.mark.parametrize("count", [0, 9, 257])
    def test_too_few_or_too_many_fragments_fail_at_once(self, client, count):
        task = TaskDefinition.decode(bytes.fromhex(definition()))
        fragments = tuple(BlobId(label(i)) for i in range(count))
        params = task_order(definition=definition(dataset=replace(task.dataset, fragments=fragments)))
        assert "a dataset has 10 to 256 fragments" in failed(client.order("task.submit", **params))

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"name": ""}, "task definition: name has 1 to 64 characters"),
            ({"tau": Tau(5, 0)}, "task definition: tau is between 2^-18 and 2^-6"),
            ({"loss": Loss.BINARY_CROSS_ENTROPY}, "two classes and one output"),
            ({"layers": dense_layers([], 9)}, "one output for each class"),
            ({"stopping": EarlyStopping("f1", 2)}, "one of the task's metrics"),
            ({"reward": Reward(70, 15, 16)}, "rewards sum to 100 %"),
            ({"group": Group(3, 2, 3)}, "at least 3 supervisors"),
            ({"expected_blocks": 0}, "expected_blocks is 1 to 100,000"),
            ({"preferences": ()}, None),
        ],
        ids=str,
    )
    def test_a_definition_that_breaks_a_rule_fails_when_the_data_is_known(self, client, changes, error):
        params = task_order(definition=definition(**changes))
        assert client.order("task.submit", **params)["state"] == "preparing"
        prepare(client)
        found = failed(client.submission(cbor.encode(params)))
        assert error is None or error in found
        assert client.pending == {}

    def test_a_task_without_end_is_not_for_sale(self, client):
        params = task_order(definition=definition(epochs=0))
        client.order("task.submit", **params)
        prepare(client)
        assert client.submission(cbor.encode(params))["state"] == "failed"
        assert client.pending == {}


class TestAskingHowItGoes:
    def test_an_order_that_nobody_gave(self, client):
        with pytest.raises(InvalidInput, match="there is no such order"):
            client.core.query("submission", {"id": label("unknown").hex()})

    @pytest.mark.parametrize("params", [{}, {"id": "xyz"}, {"id": None}, {"id": 7}])
    def test_no_id(self, client, params):
        with pytest.raises(InvalidInput, match="order"):
            client.core.query("submission", params)

    def test_the_id_is_the_one_that_the_rpc_gives_out(self):
        """Two modules of different layers compute it."""
        params = {"address": RECEIVER, "atoms": 1, "nested": {"b": [1, None], "a": True}}
        assert rpc.submission_id(params) == submission_id(cbor.encode(params)).hex()


class TestGarbage:
    @pytest.mark.parametrize("method", ["task.submit", "wallet.send"])
    @pytest.mark.parametrize("data", [b"", b"garbage", cbor.encode([1]), cbor.encode(None), cbor.encode("x")])
    def test_what_is_no_table_fails(self, client, method, data):
        client.give(events.Submitted(method, data))
        failed(client.submission(data))

    def test_more_than_a_mebibyte_fails(self, client):
        data = cbor.encode({"data": "x" * (1 << 20)})
        client.give(events.Submitted("task.submit", data))
        failed(client.submission(data))

    def test_an_unknown_method_does_nothing(self, client):
        assert client.give(events.Submitted("task.delete", cbor.encode({}))) == []

    @settings(deadline=None, max_examples=200)
    @given(choice=st.data())
    def test_no_order_stops_the_node(self, choice):
        """Any value in any place of an order; those of group and reward have a test of their own."""
        node = Driven(CLIENT, roles=("client",))
        money = {"address": RECEIVER, "atoms": COIN, "account": 0, "fee_rate": 1}
        order = task_order() | money | {"role": "miner", "count": 1, "preferences": [1, 1]}
        path = choice.draw(st.sampled_from([p for p in paths(order) if p[-1] not in ("group", "reward")]))
        spoil(order, path, choice.draw(VALUES))
        for method in ("task.submit", "wallet.send", "wallet.add_account", "ticket.buy", "ticket.refund"):
            data = cbor.encode({**order, "order": method})
            node.give(events.Submitted(method, data))
            prepare(node)
            answer = node.submission(data)
            assert answer["state"] in ("posted", "failed")
            assert (answer["error"] is None) == (answer["state"] == "posted")

    @settings(deadline=None, max_examples=200)
    @given(position=st.integers(0, len(definition()) // 2 - 1), octet=st.integers(0, 255))
    def test_no_definition_stops_the_node(self, position, octet):
        data = bytearray.fromhex(definition())
        data[position] = octet
        node = Driven(CLIENT, roles=("client",))
        params = task_order(definition=data.hex())
        node.order("task.submit", **params)
        prepare(node)
        assert node.submission(cbor.encode(params))["state"] in ("posted", "failed")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**64 - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


def paths(value, prefix=()):
    """Every place in a value of tables and lists."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return [prefix]
    found = [prefix] if prefix else []
    return found + [path for key, inner in items for path in paths(inner, (*prefix, key))]


def spoil(order, path, value):
    for key in path[:-1]:
        order = order[key]
    order[path[-1]] = value


class TestTakingBack:
    @pytest.fixture
    def chain(self):
        chain = Chain()
        self.task = chain.submit(fee=9_000 * COIN)
        return chain

    def node(self, chain, account=CLIENT):
        node = Driven(account, roles=("client",))
        node.connect()
        node.hear_chain(chain)
        return node

    def test_a_task_that_waits_for_workers_is_revoked(self, chain):
        node = self.node(chain)
        answer = node.order("task.revoke", task=self.task.hex())
        assert (answer["state"], answer["task"]) == ("posted", self.task.hex())
        assert node.core.pool.tasks[self.task].stage is Stage.REVOKED
        money = node.core.query("wallet.balance", {})
        assert (money["staked"], money["waiting"] < 0) == (9_000 * COIN, True), "its fee is spent"

    def test_somebody_elses_is_not(self, chain):
        node = self.node(chain, account=9)
        assert "has not submitted that task" in failed(node.order("task.revoke", task=self.task.hex()))

    def test_one_that_has_started_is_not(self, chain):
        chain.begin(self.task)
        node = self.node(chain)
        assert "the task is training" in failed(node.order("task.revoke", task=self.task.hex()))

    def test_one_that_is_unknown_is_not(self, chain):
        assert "no task on the chain" in failed(self.node(chain).order("task.revoke", task="abcd"))

    def test_another_takes_its_place_and_its_fee(self, chain):
        node = self.node(chain)
        ordered = task_order(fee=9_500 * COIN, replaces=self.task.hex())
        node.order("task.submit", **ordered)
        prepare(node)
        answer = node.submission(cbor.encode(ordered))
        assert answer["state"] == "posted", answer["error"]
        tx = Transaction.decode(said(node.persist(), "tx")[0])
        assert tx.data.replaces == self.task
        assert chain.task(self.task).stake in tx.inputs
        assert node.core.pool.tasks[self.task].stage is Stage.REVOKED
        chain.add(tx)

    def test_in_the_place_of_one_that_has_started_nothing_is_posted(self, chain):
        chain.begin(self.task)
        node = self.node(chain)
        ordered = task_order(replaces=self.task.hex())
        node.order("task.submit", **ordered)
        prepare(node)
        assert "the task to replace has started" in failed(node.submission(cbor.encode(ordered)))
