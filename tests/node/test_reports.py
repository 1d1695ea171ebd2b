"""Targets: what people and tools read of blocks, tasks and tickets is what the chain says; what they name
wrongly is refused with a sentence that helps.

A real core on a real chain: a task from submission to payment, its first block approved by all verifiers.
Nobody changes it; tests that need another one make it.
"""

import math
import re
import struct
from dataclasses import replace

import pytest

from p2pai import jobs
from p2pai.chain import it_res
from p2pai.chain.state import Stage
from p2pai.chain.task import Reward
from p2pai.chain.training import SCORE_MAX
from p2pai.chain.transaction import Conclusion
from p2pai.node.replays import REPLAYED_SIZE_MAX
from p2pai.node.reports import COUNT_MAX
from p2pai.primitives import address, record
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId
from p2pai.roles.history import PeerMessages
from tests.chain.ledger import CLIENT, EVALUATORS, MINERS, SUPERVISORS, Chain, devnet, key_hash, label
from tests.node.parts import Driven, grown, iteration, paid_chain

SUBSIDY = devnet().params.subsidy_atoms


@pytest.fixture(scope="module")
def paid():
    """The chain, the paid task's id, and a node that plays no role."""
    chain, task = paid_chain()
    node = Driven()
    node.hear_chain(chain)
    return chain, task, node


@pytest.fixture(scope="module")
def chain(paid):
    return paid[0]


@pytest.fixture(scope="module")
def task(paid):
    return paid[1]


@pytest.fixture(scope="module")
def query(paid):
    return paid[2].core.query


def node_of(chain, account=7, roles=("peer",)):
    node = Driven(account, roles)
    node.hear_chain(chain)
    return node


def name(account):
    return address.encode("dpai", key_hash(account))


class TestBlockList:
    def test_newest_first_without_the_genesis(self, query, chain):
        blocks = query("block.list", {})
        assert [b["height"] for b in blocks] == list(range(chain.height, 0, -1))
        assert [b["hash"] for b in blocks] == [b.hash.hex() for b in reversed(chain.blocks)]

    def test_an_approved_block_that_is_settled(self, query, chain):
        assert query("block.list", {})[-1] == {
            "height": 1,
            "hash": chain.blocks[0].hash.hex(),
            "time": chain.blocks[0].header.time,
            "task": chain.predefined.hex(),
            "task_name": "devnet digits",
            "miner": name(MINERS[0]),
            "iteration": 7,
            "transactions": 1,
            "approvals": 3,
            "verifiers": 3,
            "settled": True,
            "subsidy_paid": SUBSIDY,
        }

    def test_a_block_that_nobody_approved_and_one_that_is_not_settled(self, query, chain):
        blocks = {b["height"]: b for b in query("block.list", {})}
        window = chain.params.verification_window_blocks
        assert [h for h, b in blocks.items() if b["settled"]] == list(range(chain.height - window, 0, -1))
        assert all(b["approvals"] == b["subsidy_paid"] == 0 for h, b in blocks.items() if h > 1)

    def test_as_many_as_asked_for(self, query, chain):
        for count in (1, 2, chain.height, COUNT_MAX):
            assert len(query("block.list", {"count": count})) == min(count, chain.height)

    @pytest.mark.parametrize("count", [0, -1, COUNT_MAX + 1, "3", True, None])
    def test_no_number_of_blocks(self, query, count):
        with pytest.raises(InvalidInput, match=r"^count is 1 to 10000$"):
            query("block.list", {"count": count})

    def test_a_young_chain_has_none(self):
        assert Driven().core.query("block.list", {}) == []

    def test_two_of_three_approvals_issue_two_thirds(self):
        chain = Chain()
        chain.approve(chain.mine(), SUPERVISORS[:2])
        chain.mine_until(1 + chain.params.verification_window_blocks)
        first = node_of(chain).core.query("block.list", {})[-1]
        assert (first["approvals"], first["verifiers"]) == (2, 3)
        assert first["subsidy_paid"] == SUBSIDY * 2 // 3

    def test_a_verdict_against_a_block_is_no_approval(self):
        chain = Chain()
        chain.approve(chain.mine(), approved=False)
        chain.mine_until(1 + chain.params.verification_window_blocks)
        first = node_of(chain).core.query("block.list", {})[-1]
        assert (first["approvals"], first["subsidy_paid"]) == (0, 0)


class TestBlockShow:
    def test_the_header_as_it_is_hashed(self, query, chain):
        header = chain.blocks[0].header
        shown = query("block.show", {"block": "1"})["header"]
        assert shown["work_hash"] == header.work_hash[::-1].hex()
        assert shown["bits"] == f"{header.bits:08x}"
        for field in ("prev", "merkle_root", "nonce", "hash_msg", "hash_msg_hist"):
            assert shown[field] == getattr(header, field).hex()
        assert (shown["version"], shown["time"]) == (header.version, header.time)

    def test_the_work_proof(self, query, chain):
        proof = chain.blocks[0].work_proof
        shown = query("block.show", {"block": "1"})["work_proof"]
        lucky = it_res.decode(proof.lucky.message)
        assert shown["ticket"] == str(proof.ticket)
        assert (shown["committed_iteration"], shown["lucky_iteration"], shown["epoch"]) == (4, 7, lucky.epoch)
        assert (shown["slots"], shown["views"]) == ([20, 21, 22], [0] * 3)
        assert shown["batch"] == lucky.batch.hex()

    def test_who_approved(self, query):
        approvers = query("block.show", {"block": "1"})["approvals_by"]
        assert sorted(approvers) == sorted(name(a) for a in SUPERVISORS)
        assert query("block.show", {"block": "2"})["approvals_by"] == []

    def test_the_transactions(self, query, chain):
        shown = query("block.show", {"block": "2"})["transactions"]
        block = chain.blocks[1]
        assert [t["txid"] for t in shown] == [tx.txid.hex() for tx in block.transactions]
        kinds = ["VERIFY_COMMIT"] * 3 + ["COLLECT_VERIFICATIONS"] + ["VERIFY_REVEAL"] * 3 + ["PAY_FOR_TASK"]
        assert [t["type"] for t in shown] == ["COINBASE", *kinds]
        pay = shown[-1]
        assert pay["outputs"][0] == {"value": 1_000_000, "to": name(CLIENT)}
        assert pay["size"] == block.transactions[-1].size
        assert pay["inputs"] == [str(outpoint) for outpoint in block.transactions[-1].inputs]

    def test_it_says_all_that_the_list_says(self, query):
        shown = query("block.show", {"block": "1"})
        listed = query("block.list", {})[-1]
        assert {key: shown[key] for key in listed if key != "transactions"} | {"transactions": 1} == listed

    def test_the_genesis_block(self, query):
        shown = query("block.show", {"block": "0"})
        assert (shown["height"], shown["work_proof"], shown["transactions"]) == (0, None, [])
        assert shown["header"]["merkle_root"] == devnet().id.hex()

    def test_by_the_first_digits_of_the_hash(self, query, chain):
        digits = chain.blocks[2].hash.hex()
        start = next(n for n in range(4, 64) if re.search("[a-f]", digits[:n]))
        for wanted in (digits, digits.upper(), digits[:start]):
            assert query("block.show", {"block": wanted})["height"] == 3

    @pytest.mark.parametrize("wanted", ["9", "999999999999999", 99])
    def test_a_height_that_is_not_there(self, query, chain, wanted):
        with pytest.raises(
            Unavailable, match=f"^there is no block {wanted}; the tip is at height {chain.height}$"
        ):
            query("block.show", {"block": wanted})

    @pytest.mark.parametrize("wanted", ["", "abc", "-1", "1.0", "latest", "0x12ab", None, [1], "g" * 64])
    def test_what_is_no_name_of_a_block(self, query, wanted):
        sentence = "name a block by its height or at least 4 hexadecimal digits of its hash"
        with pytest.raises(InvalidInput, match=sentence):
            query("block.show", {"block": wanted})

    def test_a_hash_that_is_not_there(self, query):
        digits = label("unknown").hex()
        with pytest.raises(Unavailable, match=f"no block of the chain begins with {digits}"):
            query("block.show", {"block": digits})

    def test_a_block_of_another_branch_is_not_of_the_chain(self, chain):
        node, other = node_of(chain), grown(1, miner=MINERS[1])
        node.hear("block", other.blocks[0].encoded)
        with pytest.raises(Unavailable, match="no block of the chain begins with"):
            node.core.query("block.show", {"block": other.blocks[0].hash.hex()})


class TestTasks:
    def test_the_list_oldest_first(self, query, chain, task):
        predefined, client = query("task.list", {})
        assert predefined["task"] == chain.predefined.hex()
        assert predefined["predefined"]
        assert client == {
            "task": task.hex(),
            "name": "digits",
            "state": "paid",
            "predefined": False,
            "fee": 1_000_000,
            "height": 2,
            "miners": 3,
            "supervisors": 3,
            "evaluators": 3,
            "iterations": 30,
            "metric": "accuracy",
            "score": 300 / SCORE_MAX,
        }

    def test_the_definition(self, query, chain, task):
        shown = query("task.show", {"task": task.hex()})["definition"]
        definition = chain.task(task).definition
        assert shown["layers"] == ["Dense units 128", "Activation function relu", "Dense units 10"]
        assert shown["weights"] == definition.weight_count
        assert shown["fragments"] == [f.hex() for f in definition.dataset.fragments]
        assert (shown["epochs"], shown["samples"], shown["batch_size"]) == (2, 1797, 30)
        assert (shown["assignment"], shown["redundancy"]) == ("interleaved", "FullReplicas")

    def test_the_stages_with_their_heights(self, query, task):
        history = query("task.show", {"task": task.hex()})["history"]
        assert [h["state"] for h in history] == ["joining", "keying", "training", "evaluating", "paid"]
        assert [h["height"] for h in history] == [2, 4, 5, 6, 7]

    def test_the_workers_are_known_after_their_tickets_are_released(self, query, chain, task):
        workers = query("task.show", {"task": task.hex()})["workers"]
        known = chain.task(task)
        assert not any(ticket in chain.state.tickets for ticket in known.miners)
        by_role = {role: [] for role in ("miner", "supervisor", "evaluator")}
        for worker in workers:
            by_role[worker["role"]].append(worker["address"])
        assert sorted(by_role["miner"]) == sorted(name(a) for a in MINERS)
        assert sorted(by_role["supervisor"]) == sorted(name(a) for a in SUPERVISORS)
        assert sorted(by_role["evaluator"]) == sorted(name(a) for a in EVALUATORS)

    def test_the_result_pays_the_fee_to_the_atom(self, query, task):
        result = query("task.show", {"task": task.hex()})["result"]
        assert (result["samples"], result["model"]) == (360, label("best").hex())
        assert [s["score"] for s in result["scores"]] == [n / SCORE_MAX for n in (300, 200, 100)]
        assert sum(p["atoms"] for p in result["payouts"]) == 1_000_000
        shares = {
            role: sum(p["atoms"] for p in result["payouts"] if p["role"] == role)
            for role in ("miner", "supervisor", "evaluator")
        }
        assert shares == {"miner": 700_000, "supervisor": 150_000, "evaluator": 150_000}

    def test_it_says_who_was_paid_as_the_chain_does(self, query, chain, task):
        (charge,) = [tx for tx in chain.blocks[6].transactions if tx.kind == "CHARGE_FOR_TASK"]
        payouts = query("task.show", {"task": task.hex()})["result"]["payouts"]
        assert [(p["address"], p["atoms"]) for p in payouts] == [
            (address.encode("dpai", o.key_hash), o.value) for o in charge.outputs
        ]

    def test_a_task_without_result(self, query, chain):
        shown = query("task.show", {"task": chain.predefined.hex()})
        assert (shown["result"], shown["score"], shown["state"]) == (None, None, "training")

    def test_by_the_first_digits_of_its_id(self, query, task):
        assert query("task.show", {"task": task.hex()[:6].upper()})["task"] == task.hex()

    def test_two_that_are_meant(self, query):
        with pytest.raises(InvalidInput, match=r"^more than one task begins with ''$"):
            query("task.show", {})

    @pytest.mark.parametrize("wanted", ["digits", label("unknown").hex(), None, 7])
    def test_one_that_is_not_there(self, query, wanted):
        with pytest.raises(Unavailable, match="no task on the chain begins with"):
            query("task.show", {"task": wanted})


class TestOtherEnds:
    """Tasks that end, or pay, in another way."""

    def test_a_failed_task_has_no_result_and_keeps_its_history(self):
        chain = Chain()
        task = chain.submit()
        chain.mine_until(chain.task(task).since + chain.params.join_blocks)
        assert chain.task(task).stage is Stage.EXPIRED
        core = node_of(chain).core
        shown = core.query("task.show", {"task": task.hex()})
        assert (shown["state"], shown["result"], shown["workers"]) == ("expired", None, [])
        assert core.query("task.progress", {"task": task.hex()})["miners"] == []

    def test_a_task_that_failed_in_its_training_still_names_its_workers(self):
        chain = Chain()
        task = chain.start(expected_blocks=2)
        chain.mine_until(chain.task(task).since + 2)
        assert chain.task(task).stage is Stage.FAILED
        core = node_of(chain).core
        workers = core.query("task.show", {"task": task.hex()})["workers"]
        assert {w["address"] for w in workers if w["role"] == "miner"} == {name(a) for a in MINERS}
        miners = core.query("task.progress", {"task": task.hex()})["miners"]
        assert {m["address"] for m in miners} == {name(a) for a in MINERS}

    def test_agreed_and_not_paid_yet(self):
        chain = Chain()
        task = chain.start()
        chain.end_training(task)
        chain.evaluate(task)
        chain.mine()
        core = node_of(chain).core
        shown = core.query("task.show", {"task": task.hex()})
        assert shown["state"] == "evaluating"
        assert sum(p["atoms"] for p in shown["result"]["payouts"]) == 1_000_000
        assert core.query("task.progress", {"task": task.hex()})["payouts"] == []

    def paid(self, conclusion=None, fee=1_000_000, **changes):
        chain = Chain()
        task = chain.submit(fee=fee, **changes)
        chain.begin(task)
        chain.end_training(task)
        chain.evaluate(task, conclusion)
        chain.add(chain.charge(task))
        chain.mine()
        return node_of(chain).core.query("task.show", {"task": task.hex()})["result"]["payouts"]

    def test_a_miner_without_a_model_is_not_paid(self):
        payouts = self.paid(Conclusion((300, 0, 100), 360, BlobId(label("best"))))
        assert [p["role"] for p in payouts] == ["miner"] * 2 + ["supervisor"] * 3 + ["evaluator"] * 3
        fee_and_captured = 1_000_000 + devnet().params.ticket_price_atoms // 10
        miners = fee_and_captured * 70 // 100
        assert [p["atoms"] for p in payouts if p["role"] == "miner"] == [miners * 3 // 4, miners // 4]

    def test_equal_models_are_paid_alike(self):
        payouts = self.paid(Conclusion((1, 1, 1), 360, BlobId(label("best"))))
        assert [p["atoms"] for p in payouts if p["role"] == "miner"] == [233_334, 233_333, 233_333]

    @pytest.mark.parametrize("reward", [Reward(100, 0, 0), Reward(80, 20, 0), Reward(0, 50, 50)])
    def test_a_role_that_gets_nothing(self, reward):
        payouts = self.paid(reward=reward)
        roles = dict.fromkeys(p["role"] for p in payouts)
        shares = {"miner": reward.miners, "supervisor": reward.supervisors, "evaluator": reward.evaluators}
        assert list(roles) == [role for role, share in shares.items() if share]

    def test_a_fee_that_is_too_small_for_all(self):
        assert sum(p["atoms"] for p in self.paid(fee=10)) == 10

    def test_a_share_that_is_less_than_an_atom(self):
        payouts = self.paid(Conclusion((360, 1, 1), 360, BlobId(label("best"))), fee=100)
        assert sum(p["atoms"] for p in payouts) == 100


class TestProgress:
    def test_a_paid_task(self, query, chain, task):
        progress = query("task.progress", {"task": task.hex()})
        assert (progress["state"], progress["height"], progress["slots"]) == ("paid", chain.height, 10)
        assert len(progress["payouts"]) == 9
        assert progress["model_path"] is None
        assert len(progress["miners"]) == 3

    def test_the_blocks_of_the_task_alone(self):
        chain = Chain()
        task = chain.start()
        chain.mine(task=task)
        chain.mine()
        chain.mine(task=task, miner=MINERS[1])
        core = node_of(chain).core
        blocks = core.query("task.progress", {"task": task.hex()})["blocks"]
        assert [b["height"] for b in blocks] == [chain.height, chain.height - 2]
        assert {b["task_name"] for b in blocks} == {"digits"}

    def test_miners_while_they_train(self):
        chain = Chain()
        task = chain.start()
        node = node_of(chain)
        node.core.follow(task)
        metrics = tuple(int.from_bytes(struct.pack("<f", v), "little") for v in (0.5, 0.9375))
        for number in range(3):
            node.hear("it_res", iteration(chain, number, MINERS[1], task, metrics=metrics), task=task)
        miners = {m["address"]: m for m in node.core.query("task.progress", {"task": task.hex()})["miners"]}
        trained, idle = miners[name(MINERS[1])], miners[name(MINERS[0])]
        assert (trained["iteration"], trained["epoch"], trained["epochs"]) == (3, 1, 2)
        assert trained["metrics"] == {"accuracy": 0.5, "loss": 0.9375}
        assert (idle["iteration"], idle["metrics"]) == (0, {"accuracy": None, "loss": None})
        assert 0 < trained["iterations"] < 1797
        (row,) = [t for t in node.core.query("task.list", {}) if t["task"] == task.hex()]
        assert row["iterations"] == 3

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_a_metric_that_is_no_number_is_none(self, value):
        """A miner may claim what it likes, and JSON has no word for it."""
        node = Driven()
        chain = Chain()
        node.core.follow(chain.predefined)
        claimed = int.from_bytes(struct.pack("<f", value), "little")
        node.hear("it_res", iteration(chain, 0, metrics=(claimed, claimed)), task=chain.predefined)
        progress = node.core.query("task.progress", {"task": chain.predefined.hex()})
        (trained,) = [m for m in progress["miners"] if m["iteration"]]
        assert trained["metrics"] == {"accuracy": None, "loss": None}

    def test_a_delivered_model_is_named(self, chain, task):
        node = node_of(chain, CLIENT, ("client",))
        node.core.roles["client"].delivered[task] = "model.safetensors"
        assert (
            node.core.query("task.progress", {"task": task.hex()})["model_path"] == "models/model.safetensors"
        )

    def test_an_endless_task_has_no_number_of_iterations(self, query, chain):
        miners = query("task.progress", {"task": chain.predefined.hex()})["miners"]
        assert [m["iterations"] for m in miners] == [None] * 3


class TestTickets:
    def test_of_the_start(self):
        tickets = Driven().core.query("ticket.list", {})
        rows = [(t["role"], t["owner"]) for t in tickets]
        assert len(tickets) == 18
        assert [t["ticket"] for t in tickets] == [str(o) for o in sorted(Chain().state.tickets)]
        assert {t["stake"] for t in tickets} == {devnet().params.ticket_price_atoms}
        assert sum(t["state"] == "working" for t in tickets) == 6
        assert ("evaluator", name(1)) in rows

    def test_bought_young_and_grown_up(self):
        chain = Chain()
        bought = chain.add(chain.buy(7))
        states = []
        for _ in range(3):
            chain.mine()
            rows = node_of(chain).core.query("ticket.list", {})
            (row,) = [t for t in rows if t["ticket"] == f"{bought.txid.hex()}:0"]
            states.append(row["state"])
            assert (row["height"], row["owner"], row["task"]) == (1, name(7), None)
        assert states == ["immature", "live", "live"]

    def test_at_work(self):
        chain = Chain()
        task = chain.start()
        rows = node_of(chain).core.query("ticket.list", {})
        working = [t for t in rows if t["task"] == task.hex()]
        assert len(working) == 9
        assert {t["state"] for t in working} == {"working"}


@pytest.fixture(scope="module")
def trained():
    """A node with a block that names real messages of peers, the bytes of their list, and the messages."""
    chain = Chain()
    listed = sorted((iteration(chain, 3, a) for a in MINERS[1:]), key=it_res.message_id)
    applied = record.encode(PeerMessages(tuple(listed)))
    ids = it_res.hash_ids(tuple(it_res.message_id(m) for m in listed))
    chain.mine(lucky=lambda m: replace(m, peer_count=2, peer_ids=ids))
    return node_of(chain), applied, listed


class TestReplay:
    def test_what_the_capsule_is_made_of(self, query, chain):
        job = query("replay.job", {"block": "1"})
        lucky = it_res.decode(chain.blocks[0].work_proof.lucky.message)
        assert job == {
            "block": chain.blocks[0].hash.hex(),
            "height": 1,
            "task": chain.predefined.hex(),
            "iteration": 7,
            "parts": {
                "weights": lucky.weights.hex(),
                "residual": lucky.residual.hex(),
                "optimiser": lucky.optimiser.hex(),
                "batch": lucky.batch.hex(),
                "applied": lucky.applied.hex(),
            },
            "recorded_nonce": lucky.nonce.hex(),
        }

    def test_with_the_peers_messages_it_is_the_trainers_job(self, trained):
        node, applied, listed = trained
        shown = node.core.query("replay.job", {"block": "1", "applied": applied.hex()})
        job = record.decode_tagged(jobs.Job, bytes.fromhex(shown["job"]), size_max=1 << 20)
        assert isinstance(job, jobs.Replay)
        assert job.before.weights.hex() == shown["parts"]["weights"]
        peers = [it_res.decode(m) for m in listed]
        assert job.peers == tuple(jobs.PeerUpdate(p.tau_bits, p.message_map) for p in peers)
        assert job.seed.hex() == shown["task"]

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda messages: messages[:1], "the peers' messages are not those that the iteration names"),
            (lambda messages: messages[::-1], "the peers' messages are not those that the iteration names"),
            (lambda messages: [], "the peers' messages are not those that the iteration names"),
        ],
    )
    def test_with_others_it_is_refused(self, trained, spoil, reason):
        node, _, listed = trained
        applied = record.encode(PeerMessages(tuple(spoil(listed)))).hex()
        with pytest.raises(InvalidInput, match=reason):
            node.core.query("replay.job", {"block": "1", "applied": applied})

    @pytest.mark.parametrize("applied", ["", "00", "80", "ff" * 40])
    def test_what_is_no_list_is_refused(self, trained, applied):
        with pytest.raises(InvalidInput):
            trained[0].core.query("replay.job", {"block": "1", "applied": applied})

    @pytest.mark.parametrize("applied", ["xyz", None, "0", 7.5])
    def test_what_is_not_hexadecimal_is_refused(self, trained, applied):
        with pytest.raises(InvalidInput, match="`applied` is not hexadecimal"):
            trained[0].core.query("replay.job", {"block": "1", "applied": applied})

    def test_the_genesis_block_was_not_mined(self, query):
        with pytest.raises(InvalidInput, match="the genesis block was not mined, there is nothing to replay"):
            query("replay.job", {"block": "0"})

    def verdict(self, query, replayed, block="1"):
        return query("replay.verdict", {"block": block, "replayed": record.encode(replayed).hex()})

    def replayed(self, difference="", start="start", attempt=0):
        """What the trainer finds; the training of tests/chain/ledger.py is made up of these labels."""
        ends = (BlobId(label(part, attempt)) for part in ("weights", "residual", "optimiser"))
        return jobs.Replayed(it_res.EndState(*ends, label("witness", attempt)), label(start), difference)

    @pytest.fixture
    def honest(self):
        """A node with a block whose messages are what its training gave, and what a replay finds."""
        chain = Chain()

        def earned(message):
            start = (BlobId(label(part, 7)) for part in ("weights", "residual"))
            end = it_res.EndState(*start, message.optimiser, label("start"))
            return replace(message, nonce=it_res.nonce(it_res.precursor(end, message.message_map)))

        block = chain.mine(previous=earned)
        lucky = it_res.decode(block.work_proof.lucky.message)
        found = (self.replayed(attempt=n) for n in range(100))
        wanted = chain.precursors[block.hash]
        return node_of(chain).core.query, next(
            r for r in found if it_res.precursor(r.after, lucky.message_map) == wanted
        )

    def test_an_honest_block_is_identical(self, honest):
        query, replayed = honest
        assert self.verdict(query, replayed) == {"identical": True, "reason": ""}

    def test_another_end_is_a_reason(self, honest):
        query, replayed = honest
        other = replace(replayed, after=replace(replayed.after, residual=BlobId(label("other"))))
        reason = "the nonce is not the one that the replayed state gives"
        assert self.verdict(query, other) == {"identical": False, "reason": reason}

    def test_another_start_is_a_reason(self, honest):
        query, replayed = honest
        other = replace(replayed, start_witness=label("other"))
        reason = "the starting state is not the one that the iteration before ended with"
        assert self.verdict(query, other) == {"identical": False, "reason": reason}

    def test_the_first_difference_is_the_reason(self, honest):
        query, replayed = honest
        other = replace(replayed, difference="message map at layer 0")
        found = self.verdict(query, other)
        assert found == {"identical": False, "reason": "message map at layer 0"}

    @pytest.mark.parametrize("replayed", ["xyz", None, "0"])
    def test_a_result_that_is_not_hexadecimal(self, query, replayed):
        with pytest.raises(InvalidInput, match="`replayed` is not hexadecimal"):
            query("replay.verdict", {"block": "1", "replayed": replayed})

    @pytest.mark.parametrize("replayed", ["", "80", "00" * (REPLAYED_SIZE_MAX + 1)], ids=len)
    def test_a_result_that_is_none(self, query, replayed):
        with pytest.raises(InvalidInput):
            query("replay.verdict", {"block": "1", "replayed": replayed})

    def test_of_a_block_that_is_not_there(self, query):
        with pytest.raises(Unavailable):
            self.verdict(query, self.replayed(), block="99")

    def test_of_the_genesis_block(self, query):
        with pytest.raises(InvalidInput, match="nothing to replay"):
            self.verdict(query, self.replayed(), block="0")
