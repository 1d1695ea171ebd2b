"""Targets: who may say what about a task; what was missed is asked for and taken from anyone, but believed
only if it proves itself; a task that is over, or left, is silent.

A real core that follows a task; its miners' messages and its supervisors' certificates are real.
"""

from dataclasses import replace

import pytest

from p2pai import effects, events
from p2pai.chain import it_res
from p2pai.chain.committee import StatusStatement
from p2pai.chain.state import Stage
from p2pai.chain.supervision import NodeStatus
from p2pai.effects import Judge, Verdict
from p2pai.gossip import sync
from p2pai.node.following import FETCH_TURNS, PULL_MS, TOPIC_NAMES
from p2pai.primitives import ecdsa, merkle, record
from p2pai.primitives.ids import BlobId, Outpoint, PeerId, TaskId
from p2pai.roles.slots import DataFault, Share
from tests.chain.ledger import MINERS, SUPERVISORS, Chain, flip, keys, label, sign_message
from tests.node.parts import REMOTE, STRANGER, Driven, iteration, model, of, questions, slot

ACCEPT, IGNORE = Judge(Verdict.ACCEPT), Judge(Verdict.IGNORE)


@pytest.fixture(scope="module")
def chain():
    """Nobody changes it."""
    return Chain()


@pytest.fixture
def task(chain):
    return chain.predefined


@pytest.fixture
def node(task):
    driven = Driven()
    driven.core.follow(task)
    driven.fire("sync")  # what following asks for leaves with the next event
    return driven


@pytest.fixture
def history(node, task):
    return node.core.following[task].history


def reject(reason):
    return Judge(Verdict.REJECT, reason)


def pull(node, task, turns=1):
    """Let the node look for what is missing; return what it does in the last of the turns."""
    for _ in range(turns):
        reaction = node.fire(f"pull:{task.hex()}")
    return reaction


def pulled(node, task, kind, turns=4):
    """Let it look until it asks a question of a kind."""
    for _ in range(turns):
        for asked in of(pull(node, task), effects.Ask):
            if isinstance(sync.read_question(asked.body), kind):
                return asked
    return None


class TestTopics:
    def test_following_joins_the_tasks_topics(self, node, task):
        joined = [effect.topic for effect in of(node.effects, effects.Join)]
        assert joined[2:] == [node.topic(name, task) for name in TOPIC_NAMES]

    def test_following_twice_is_following(self, node, task, history):
        node.effects.clear()
        assert node.core.follow(task) is history
        assert of(node.fire("sync"), effects.Join) == []

    def test_leaving_leaves_them_and_hears_no_more(self, node, chain, task):
        node.core.unfollow(task)
        left = [effect.topic for effect in of(node.fire("sync"), effects.Leave)]
        assert left == [node.topic(name, task) for name in TOPIC_NAMES]
        assert node.hear("it_res", iteration(chain, 0), task=task) == IGNORE
        assert pull(node, task) == []

    def test_leaving_what_is_not_followed_is_nothing(self, node):
        node.core.unfollow(TaskId(label("unknown")))
        assert of(node.fire("sync"), effects.Leave) == []

    def test_a_task_that_we_do_not_follow_is_ignored(self, chain):
        stranger = Driven()
        assert stranger.hear("it_res", iteration(chain, 0), task=chain.predefined) == IGNORE
        assert stranger.hear("it_res", b"garbage", task=TaskId(label("unknown"))) == IGNORE


class TestIterations:
    def test_a_miners_message_is_accepted_once_and_kept(self, node, chain, task, history):
        data = iteration(chain, 0)
        assert node.hear("it_res", data, task=task) == ACCEPT
        assert node.hear("it_res", data, task=task) == IGNORE
        assert history.messages == {it_res.message_id(data): data}
        assert [m.iteration for m in history.latest.values()] == [0]

    @pytest.mark.parametrize("sender", [STRANGER, SUPERVISORS[0], MINERS[1]])
    def test_anybody_may_pass_it_on(self, node, chain, task, sender):
        assert node.hear("it_res", iteration(chain, 0), task=task, sender=sender) == ACCEPT

    def test_it_may_come_out_of_order(self, node, chain, task, history):
        for number in (3, 0, 2):
            assert node.hear("it_res", iteration(chain, number), task=task) == ACCEPT
        assert [m.iteration for m in history.latest.values()] == [3]

    def test_a_second_message_for_the_same_place_is_ignored(self, node, chain, task, history):
        first = iteration(chain, 0)
        node.hear("it_res", first, task=task)
        assert node.hear("it_res", iteration(chain, 0, finished_s=1_780_000_002), task=task) == IGNORE
        assert list(history.messages.values()) == [first]

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"ticket": Outpoint(label("nobody"), 0)}, "the sender is not a miner of the task"),
            ({"metrics": (1,)}, "IT_RES has other metrics than the task"),
            ({"metrics": (1, 2, 3)}, "IT_RES has other metrics than the task"),
            ({"epoch": 2}, "the miner has no such iteration"),
            ({"message_map": b"\x07\0"}, None),
            ({"message_map": b""}, None),
            ({"task_prefix": bytes(16)}, "IT_RES names another task"),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
    )
    def test_what_breaks_a_rule_is_rejected(self, node, chain, task, history, changes, reason):
        judge = node.hear("it_res", iteration(chain, 0, **changes), task=task)
        assert judge.verdict is Verdict.REJECT
        assert judge.reason == reason or (reason is None and "message map" in judge.reason)
        assert not history.messages

    def test_a_verifiers_ticket_does_not_mine(self, node, chain, task):
        ticket = chain.tickets("verifier", 1)[0]
        judge = node.hear("it_res", iteration(chain, 0, ticket=ticket), task=task)
        assert judge == reject("the sender is not a miner of the task")

    def test_a_miner_that_signs_with_anothers_key_is_rejected(self, node, chain, task, history):
        message = it_res.decode(iteration(chain, 0))
        forged = sign_message(message, task, MINERS[1]).encode()
        assert node.hear("it_res", forged, task=task).verdict is Verdict.REJECT
        assert not history.messages

    def test_every_byte_is_covered(self, node, chain, task, history):
        """A message with any byte changed is refused, or is another that was never signed."""
        data = iteration(chain, 0)
        for position in range(len(data)):
            judge = node.hear("it_res", flip(data, 8 * position), task=task)
            assert judge.verdict is not Verdict.ACCEPT, position
        assert not history.messages

    @pytest.mark.parametrize(
        "spoil", [lambda d: b"", lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"\xff" * 99]
    )
    def test_what_is_no_message_is_rejected(self, node, chain, task, spoil):
        assert node.hear("it_res", spoil(iteration(chain, 0)), task=task).verdict is Verdict.REJECT

    def test_a_paid_task_has_so_many_iterations(self, node):
        chain = Chain()
        task_id = chain.start(epochs=1)
        node.hear_chain(chain)
        node.core.follow(task_id)
        last = iterations_of(chain, task_id) - 1
        assert node.hear("it_res", iteration(chain, last, task=task_id), task=task_id) == ACCEPT
        beyond = iteration(chain, last, task=task_id, iteration=last + 1)
        assert node.hear("it_res", beyond, task=task_id) == reject("the miner has no such iteration")


LOST, STAYS = MINERS[1], MINERS[0]
"""In epoch 2 the second miner works no more; iteration 30 is then of this epoch, else of the third."""


@pytest.fixture(scope="module")
def shifted(chain):
    """The chain on which a miner of the predefined task has left."""
    shifted, task = chain.fork(), chain.predefined
    lost = shifted.tickets("miner", LOST, task=task)[0]
    certificate = shifted.certify(task, StatusStatement(task, lost, 2))
    shifted.post(SUPERVISORS[0], NodeStatus(task, lost, 2, certificate))
    shifted.mine()
    return shifted


class TestMinersThatLeave:
    @pytest.fixture
    def aware(self, node, shifted):
        node.hear_chain(shifted)
        return node

    def test_the_others_do_what_falls_to_them_now(self, aware, shifted, task):
        data = iteration(shifted, 30, STAYS)
        assert it_res.decode(data).epoch == 2
        assert aware.hear("it_res", data, task=task) == ACCEPT

    def test_who_does_not_know_of_it_yet_ignores_that(self, node, shifted, task):
        data = iteration(shifted, 30, STAYS)
        assert node.hear("it_res", data, task=task) == IGNORE
        node.hear_chain(shifted)
        assert node.hear("it_res", data, task=task) == ACCEPT

    def test_what_was_signed_in_ignorance_leaves_no_gap(self, aware, chain, task, history):
        assert aware.hear("it_res", iteration(chain, 30, STAYS), task=task) == ACCEPT
        assert [m.epoch for m in history.latest.values()] == [3]

    def test_who_left_did_its_part_until_then(self, aware, chain, task):
        for number, verdict in ((14, ACCEPT), (15, IGNORE), (30, IGNORE)):
            assert aware.hear("it_res", iteration(chain, number, LOST), task=task) == verdict

    def test_what_supervisors_recorded_is_taken_as_it_is(self, aware, chain, task, history):
        data = iteration(chain, 30, LOST)
        aware.hear("message_history", record.encode_tagged(slot(chain, 0, [data])), task=task)
        assert history.missing() == (it_res.message_id(data),)
        assert aware.hear("it_res", data, task=task) == ACCEPT
        assert history.next_slot == 1

    @pytest.mark.parametrize("number", [0, 14])
    def test_what_is_wrong_on_every_chain_is_rejected(self, aware, chain, task, number):
        wrong = iteration(chain, number, STAYS, epoch=2)
        assert aware.hear("it_res", wrong, task=task) == reject("the miner has no such iteration")


def iterations_of(chain, task_id, account=MINERS[0]):
    number = 0
    while True:
        try:
            iteration(chain, number, account, task_id)
        except AttributeError:  # no turn
            return number
        number += 1


class TestSlots:
    @pytest.fixture
    def messages(self, chain):
        return [iteration(chain, number) for number in range(3)]

    def say(self, node, task, certified, sender=STRANGER):
        return node.hear("message_history", record.encode_tagged(certified), task=task, sender=sender)

    def test_what_a_quorum_signed_is_accepted_from_anyone(self, node, chain, task, history, messages):
        certified = slot(chain, 0, messages)
        assert self.say(node, task, certified) == ACCEPT
        assert self.say(node, task, certified) == IGNORE
        assert history.slots == {0: certified}

    def test_two_of_three_are_a_quorum(self, node, chain, task, messages):
        certified = slot(chain, 0, messages, signers=SUPERVISORS[1:])
        assert self.say(node, task, certified) == ACCEPT

    def test_one_of_three_is_none(self, node, chain, task, messages):
        judge = self.say(node, task, slot(chain, 0, messages, signers=SUPERVISORS[:1]))
        assert judge == reject("signature does not match")

    def test_a_quorum_that_did_not_sign_this_is_refused(self, node, chain, task, history, messages):
        certified, other = slot(chain, 0, messages), slot(chain, 0, messages[:1])
        for spoilt in (
            replace(certified, signature=other.signature),
            replace(certified, statement=replace(certified.statement, view=1)),
        ):
            assert self.say(node, task, spoilt).verdict is Verdict.REJECT
        assert not history.slots

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda s: replace(s, messages=s.messages[:-1]), "message ids do not give the slot's root"),
            (lambda s: replace(s, messages=s.messages[::-1]), "message ids do not give the slot's root"),
            (lambda s: replace(s, messages=()), "a slot has 1 to 256 messages"),
            (lambda s: replace(s, signature=bytes(96)), "malformed signature"),
        ],
    )
    def test_what_does_not_fit_is_rejected(self, node, chain, task, messages, change, reason):
        assert self.say(node, task, change(slot(chain, 0, messages))) == reject(reason)

    def test_a_later_leaders_slot_is_as_good(self, node, chain, task, messages):
        assert self.say(node, task, slot(chain, 0, messages, view=3)) == ACCEPT

    @pytest.mark.parametrize("changes", [{"epoch": 1}, {"view": 1 << 16}])
    def test_a_slot_out_of_its_place_is_rejected(self, node, chain, task, messages, changes):
        judge = self.say(node, task, slot(chain, 0, messages, **changes))
        assert judge == reject("the slot names an epoch or a view that is not its own")

    def test_a_slot_of_another_task_is_rejected(self, node, task, messages):
        chain = Chain()
        other = chain.start()
        judge = self.say(node, task, slot(chain, 0, messages, task=other))
        assert judge == reject("the slot is of another task")

    def test_with_all_its_messages_it_is_recorded(self, node, chain, task, history, messages):
        for message in messages:
            node.hear("it_res", message, task=task)
        self.say(node, task, slot(chain, 0, messages))
        assert history.next_slot == 1
        assert not history.unrecorded
        assert self.say(node, task, slot(chain, 0, messages[:1])) == IGNORE

    def test_who_comes_later_begins_with_the_first_slot_it_hears(self, node, chain, task, history, messages):
        self.say(node, task, slot(chain, 200, messages))
        assert history.next_slot == 200
        for message in messages:
            node.hear("it_res", message, task=task)
        assert history.next_slot == 201
        assert self.say(node, task, slot(chain, 199, messages[:1])) == IGNORE

    def test_what_the_slot_names_replaces_what_the_miner_said_besides(self, node, chain, task, history):
        """A miner signs two messages for one iteration; the supervisors recorded the other one."""
        ours, theirs = iteration(chain, 0), iteration(chain, 0, finished_s=1_780_000_009)
        assert node.hear("it_res", ours, task=task) == ACCEPT
        self.say(node, task, slot(chain, 0, [theirs]))
        assert history.next_slot == 0
        assert node.hear("it_res", theirs, task=task) == ACCEPT
        assert history.next_slot == 1


class TestSupervisors:
    def test_only_they_talk_to_each_other(self, node, chain, task):
        statement = slot(chain, 0, [iteration(chain, 0)]).statement
        for account in SUPERVISORS:
            body = record.encode_tagged(Share(statement, 1, bytes(96)))
            assert node.hear("message_history", body, task=task, sender=account) == ACCEPT
            for other in (STRANGER, MINERS[0]):
                judge = node.hear("message_history", body, task=task, sender=other)
                assert judge == IGNORE

    def test_of_malformed_data_the_miners_tell_them(self, node, chain, task):
        """Whoever else said so could make supervisors fetch and look into a fragment as often as it likes."""
        body = record.encode_tagged(DataFault(task, 2))
        for account in MINERS:
            assert node.hear("message_history", body, task=task, sender=account) == ACCEPT
        judge = node.hear("message_history", body, task=task, sender=STRANGER)
        assert judge == IGNORE
        assert node.hear("model", body, task=task, sender=MINERS[0]).verdict is Verdict.REJECT

    @pytest.mark.parametrize("name", ["heartbeat", "consider_pause", "dkg", "vote", "candidate"])
    def test_so_it_is_on_topics_that_nobody_uses_yet(self, node, task, name):
        judge = node.hear(name, b"anything", task=task)
        assert judge == IGNORE

    @pytest.mark.parametrize("body", [b"", b"garbage", record.encode_tagged(sync.Slots(()))])
    def test_what_they_do_not_say_is_rejected(self, node, task, body):
        judge = node.hear("message_history", body, task=task, sender=SUPERVISORS[0])
        assert judge.verdict is Verdict.REJECT


class TestModels:
    def test_a_miners_announcement_is_accepted_once(self, node, chain, task, history):
        announced = model(chain)
        data = record.encode(announced)
        assert node.hear("model", data, task=task) == ACCEPT
        assert node.hear("model", data, task=task) == IGNORE
        assert list(history.models.values()) == [announced]

    def test_a_later_one_replaces_it(self, node, chain, task, history):
        for last in (model(chain), model(chain, iteration=12)):
            assert node.hear("model", record.encode(last), task=task) == ACCEPT
        assert list(history.models.values()) == [last]

    @pytest.mark.parametrize(
        "changes", [{"ticket": Outpoint(label("nobody"), 0)}, {"task": TaskId(label("other"))}], ids=str
    )
    def test_of_somebody_else_it_is_rejected(self, node, chain, task, history, changes):
        announced = replace(model(chain), **changes)
        announced = replace(announced, signature=ecdsa.sign(keys(MINERS[0]).spending, announced.digest))
        judge = node.hear("model", record.encode(announced), task=task)
        assert judge == reject("a model of somebody who is not a miner of the task")
        assert not history.models

    @pytest.mark.parametrize("changes", [{"iteration": 10}, {"signature": bytes(70)}, {"signature": b""}])
    def test_with_another_signature_it_is_rejected(self, node, chain, task, history, changes):
        judge = node.hear("model", record.encode(replace(model(chain), **changes)), task=task)
        assert judge.verdict is Verdict.REJECT
        assert not history.models

    def test_a_miner_cannot_announce_for_another(self, node, chain, task):
        theirs = chain.tickets("miner", MINERS[1], task=task)[0]
        judge = node.hear("model", record.encode(model(chain, MINERS[0], ticket=theirs)), task=task)
        assert judge.verdict is Verdict.REJECT


class TestGettingMessages:
    @pytest.fixture
    def messages(self, chain):
        return [iteration(chain, number) for number in range(4)]

    @pytest.fixture
    def lacking(self, node, chain, task, messages):
        """A node that knows a slot and only one of its messages."""
        node.hear("it_res", messages[0], task=task)
        node.hear("message_history", record.encode_tagged(slot(chain, 0, messages)), task=task)
        node.connect()
        return node

    def ids(self, messages):
        return tuple(it_res.message_id(m) for m in messages)

    def test_it_looks_again_and_again(self, node, task):
        for _ in range(3):
            assert node.timers[f"pull:{task.hex()}"] == PULL_MS
            pull(node, task)

    def test_it_asks_for_what_is_missing(self, lacking, task, messages):
        asked = pulled(lacking, task, sync.AskMessages)
        assert asked.remote == REMOTE
        assert sync.read_question(asked.body) == sync.AskMessages(task, self.ids(messages[1:]))

    def test_the_answer_completes_the_slot(self, lacking, task, history, messages):
        asked = pulled(lacking, task, sync.AskMessages)
        lacking.answer(asked, sync.Messages(tuple(messages[1:])))
        assert history.next_slot == 1
        assert pulled(lacking, task, sync.AskMessages) is None

    def test_a_part_of_it_is_taken_and_the_rest_asked_for(self, lacking, task, messages):
        asked = pulled(lacking, task, sync.AskMessages)
        lacking.answer(asked, sync.Messages((messages[2],)))
        asked = pulled(lacking, task, sync.AskMessages)
        assert sync.read_question(asked.body).ids == self.ids([messages[1], messages[3]])

    @pytest.mark.parametrize(
        "reply",
        [None, b"", b"garbage", sync.Blocks((b"b",)), sync.Messages((b"no message",)), sync.Slots(())],
        ids=str,
    )
    def test_an_answer_that_is_none_is_put_away(self, lacking, task, history, reply):
        asked = pulled(lacking, task, sync.AskMessages)
        assert lacking.answer(asked, reply) == []
        assert len(history.messages) == 1
        assert pulled(lacking, task, sync.AskMessages) is not None

    def test_a_forged_message_in_an_answer_is_not_believed(self, lacking, task, history, messages):
        asked = pulled(lacking, task, sync.AskMessages)
        forged = sign_message(it_res.decode(messages[1]), task, MINERS[1]).encode()
        lacking.answer(asked, sync.Messages((messages[2], forged, messages[3])))
        assert set(history.messages) == set(self.ids([messages[0], messages[2]]))

    def test_alone_it_asks_nobody(self, lacking, task):
        lacking.give(events.Disconnected(REMOTE))
        assert pulled(lacking, task, sync.AskMessages) is None

    def test_nothing_missing_nothing_asked(self, node, task):
        node.connect()
        assert questions(pull(node, task, 8)) == []

    def test_a_remote_that_follows_answers(self, lacking, chain, task, history, messages):
        other = Driven(account=8)
        other.core.follow(task)
        for message in messages:
            other.hear("it_res", message, task=task)
        asked = pulled(lacking, task, sync.AskMessages)
        lacking.answer(asked, other.ask(asked.body))
        assert history.next_slot == 1

    def test_what_gossip_brings_meanwhile_is_not_asked_for(self, lacking, task, messages):
        for message in messages[1:]:
            lacking.hear("it_res", message, task=task)
        assert pulled(lacking, task, sync.AskMessages) is None


class TestTurns:
    """Whom it asks: a remote that has nothing of the task must not be the only one that is ever asked."""

    TURNS = 60

    def asked(self, node, task, kind):
        found = set()
        for _ in range(self.TURNS):
            for effect in of(pull(node, task), effects.Ask):
                if isinstance(sync.read_question(effect.body), kind):
                    found.add(effect.remote)
        return found

    @staticmethod
    def connect(node, count):
        remotes = [PeerId(f"r{number}") for number in range(count)]
        node.connect(*remotes)
        return set(remotes)

    @pytest.mark.parametrize("count", range(1, 8))
    def test_everyone_is_asked_for_messages(self, node, chain, task, count):
        known, missing = iteration(chain, 0), iteration(chain, 1)
        node.hear("it_res", known, task=task)
        node.hear("message_history", record.encode_tagged(slot(chain, 0, [known, missing])), task=task)
        remotes = self.connect(node, count)
        assert self.asked(node, task, sync.AskMessages) == remotes

    @pytest.mark.parametrize("count", range(1, 8))
    def test_everyone_is_asked_for_slots(self, task, count):
        late = Driven()
        late.core.follow(task, 0)
        remotes = self.connect(late, count)
        assert self.asked(late, task, sync.AskSlots) == remotes

    @pytest.mark.parametrize("count", range(1, 8))
    def test_everyone_is_asked_whether_there_are_later_slots(self, node, chain, task, count):
        message = iteration(chain, 0)
        node.hear("it_res", message, task=task)
        node.hear("message_history", record.encode_tagged(slot(chain, 0, [message])), task=task)
        remotes = self.connect(node, count)
        assert self.asked(node, task, sync.AskSlots) == remotes


class TestGettingTheSlotsBlob:
    """Supervisors keep a slot's messages as a blob; its id is the slot's root."""

    @pytest.fixture
    def messages(self, chain):
        return [iteration(chain, number) for number in range(3)]

    @pytest.fixture
    def lacking(self, node, chain, task, messages):
        node.hear("message_history", record.encode_tagged(slot(chain, 0, messages)), task=task)
        node.connect()
        return node

    def fetch(self, node, task):
        found = []
        for _ in range(FETCH_TURNS):
            found += of(pull(node, task), effects.Fetch)
        return found

    def test_it_is_fetched_when_asking_does_not_help(self, lacking, task, messages):
        root = merkle.root([it_res.message_id(m) for m in messages])
        assert self.fetch(lacking, task) == [effects.Fetch(BlobId(root), ())]

    def test_its_messages_complete_the_slot(self, lacking, task, history, messages):
        (fetch,) = self.fetch(lacking, task)
        leaves = tuple(it_res.message_id(m) for m in messages)
        lacking.give(events.Fetched(fetch.blob, leaves, b"".join(messages)))
        assert history.next_slot == 1
        assert self.fetch(lacking, task) == []

    @pytest.mark.parametrize("data", [None, b"", b"garbage", b"\2\0" * 400])
    def test_a_blob_that_is_none_is_put_away(self, lacking, task, history, data):
        (fetch,) = self.fetch(lacking, task)
        leaves = None if data is None else (label("leaf"),)
        assert lacking.give(events.Fetched(fetch.blob, leaves, data)) == []
        assert not history.messages
        assert self.fetch(lacking, task) == [fetch]

    def test_after_leaving_it_is_too_late(self, lacking, task, history, messages):
        (fetch,) = self.fetch(lacking, task)
        lacking.core.unfollow(task)
        lacking.give(events.Fetched(fetch.blob, (), b"".join(messages)))
        assert not history.messages


class TestGettingSlots:
    @pytest.fixture
    def messages(self, chain):
        return [iteration(chain, number) for number in range(6)]

    @pytest.fixture
    def slots(self, chain, messages):
        return tuple(slot(chain, number, messages[2 * number : 2 * number + 2]) for number in range(3))

    @pytest.fixture
    def behind(self, task, messages):
        """A node that wants all slots and has all messages."""
        driven = Driven()
        driven.core.follow(task, 0)
        driven.connect()
        for message in messages:
            driven.hear("it_res", message, task=task)
        return driven

    def test_it_asks_from_the_first_slot_it_lacks(self, behind, task, slots):
        asked = pulled(behind, task, sync.AskSlots)
        assert sync.read_question(asked.body) == sync.AskSlots(task, 0)
        behind.hear("message_history", record.encode_tagged(slots[0]), task=task)
        asked = pulled(behind, task, sync.AskSlots)
        assert sync.read_question(asked.body) == sync.AskSlots(task, 1)

    def test_the_answer_is_recorded(self, behind, task, slots):
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots(slots))
        assert behind.core.following[task].history.next_slot == 3

    def test_a_gap_makes_it_ask(self, node, chain, task, slots, messages, history):
        for message in messages:
            node.hear("it_res", message, task=task)
        node.connect()
        for number in (0, 2):
            node.hear("message_history", record.encode_tagged(slots[number]), task=task)
        assert history.next_slot == 1
        asked = pulled(node, task, sync.AskSlots)
        assert sync.read_question(asked.body) == sync.AskSlots(task, 1)
        node.answer(asked, sync.Slots(slots[1:]))
        assert history.next_slot == 3

    def test_it_begins_where_the_oldest_that_anybody_keeps_begins(self, behind, task, slots):
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots(slots[1:]))
        assert behind.core.following[task].history.next_slot == 3

    def test_the_record_of_a_supervisor_skips_nothing(self, behind, task, slots):
        """One remote that keeps the older slots back must not make a hole in it."""
        history = behind.core.following[task].history
        history.is_whole = True
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots(slots[1:]))
        assert history.next_slot == 0
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots(slots))
        assert history.next_slot == 3

    def test_a_slot_without_quorum_in_an_answer_is_not_believed(self, behind, chain, task, slots, messages):
        weak = slot(chain, 1, messages[2:4], signers=SUPERVISORS[:1])
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots((slots[0], weak, slots[2])))
        assert behind.core.following[task].history.slots.keys() == {0}

    def test_a_lie_about_where_the_record_begins_moves_nothing(self, behind, chain, task, messages):
        """A remote must not be able to make us skip slots without the supervisors' signatures."""
        far = slot(chain, 10**6, messages[:1], signers=SUPERVISORS[:1])
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots((far,)))
        assert behind.core.following[task].history.next_slot == 0

    def test_another_tasks_slots_in_an_answer_are_not_taken(self, behind, task, messages):
        chain = Chain()
        other = chain.start()
        strange = slot(chain, 0, messages[:1], task=other)
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots((strange,)))
        assert not behind.core.following[task].history.slots

    @pytest.mark.parametrize(
        "reply", [None, b"", b"garbage", sync.Messages((b"m",)), sync.Slots(())], ids=str
    )
    def test_an_answer_that_is_none_is_put_away(self, behind, task, reply):
        assert behind.answer(pulled(behind, task, sync.AskSlots), reply) == []
        assert not behind.core.following[task].history.slots

    def test_now_and_then_it_asks_though_nothing_seems_missing(self, behind, task, slots):
        """The newest slots may be the ones that were lost."""
        behind.answer(pulled(behind, task, sync.AskSlots), sync.Slots(slots))
        asked = pulled(behind, task, sync.AskSlots, turns=4)
        assert sync.read_question(asked.body) == sync.AskSlots(task, 3)

    def test_only_the_first_wish_counts(self, behind, task):
        """A second role that wants later slots only must not skip those that the first one waits for."""
        behind.core.follow(task, 2)
        assert behind.core.following[task].history.next_slot == 0


class TestAnswering:
    @pytest.fixture
    def knowing(self, node, chain, task):
        self.messages = [iteration(chain, number) for number in range(4)]
        self.slots = tuple(slot(chain, n, [self.messages[n]]) for n in range(3))
        for message in self.messages:
            node.hear("it_res", message, task=task)
        for certified in self.slots:
            node.hear("message_history", record.encode_tagged(certified), task=task)
        return node

    def test_messages_that_are_known_in_the_order_asked(self, knowing, task):
        wanted = [self.messages[3], self.messages[0]]
        ids = (it_res.message_id(wanted[0]), label("unknown"), it_res.message_id(wanted[1]))
        reply = sync.read_reply(knowing.ask(sync.AskMessages(task, ids)))
        assert reply == sync.Messages(tuple(wanted))

    def test_slots_from_the_one_asked_for(self, knowing, task):
        for first in range(4):
            reply = sync.read_reply(knowing.ask(sync.AskSlots(task, first)))
            assert reply == sync.Slots(self.slots[first:])

    def test_no_more_messages_than_an_answer_may_name(self, knowing, task):
        ids = (label("unknown"),) * sync.MESSAGES_MAX + (it_res.message_id(self.messages[0]),)
        reply = sync.read_reply(knowing.ask(sync.AskMessages(task, ids)))
        assert reply == sync.Messages(())

    def test_no_more_slots_than_an_answer_holds(self, node, chain, task):
        messages = [iteration(chain, number) for number in range(sync.SLOTS_MAX + 2)]
        slots = [slot(chain, number, [message]) for number, message in enumerate(messages)]
        for message, certified in zip(messages, slots, strict=True):
            node.hear("it_res", message, task=task)
            node.hear("message_history", record.encode_tagged(certified), task=task)
        reply = sync.read_reply(node.ask(sync.AskSlots(task, 0)))
        assert reply == sync.Slots(tuple(slots[: sync.SLOTS_MAX]))

    def test_who_began_later_leaves_earlier_questions_to_others(self, node, chain, task):
        """An answer that begins later would make the one who asks give up what lies before."""
        messages = [iteration(chain, number) for number in range(2)]
        slots = tuple(slot(chain, 7 + number, [message]) for number, message in enumerate(messages))
        assert sync.read_reply(node.ask(sync.AskSlots(task, 0))) == sync.Slots(())
        for message, certified in zip(messages, slots, strict=True):
            node.hear("it_res", message, task=task)
            node.hear("message_history", record.encode_tagged(certified), task=task)
        assert sync.read_reply(node.ask(sync.AskSlots(task, 6))) == sync.Slots(())
        assert sync.read_reply(node.ask(sync.AskSlots(task, 7))) == sync.Slots(slots)

    def test_about_a_task_that_we_do_not_follow_there_is_no_answer(self, knowing):
        unknown = TaskId(label("unknown"))
        assert knowing.ask(sync.AskSlots(unknown, 0)) == b""
        assert knowing.ask(sync.AskMessages(unknown, ())) == b""


class TestStages:
    """A client's task before, in and after its training."""

    @pytest.fixture
    def client(self):
        chain = Chain()
        return chain, chain.submit()

    def test_before_the_training_all_is_ignored(self, node, client):
        chain, task = client
        node.hear_chain(chain)
        node.core.follow(task)
        assert chain.task(task).stage is Stage.JOINING
        for name in TOPIC_NAMES:
            assert node.hear(name, b"anything", task=task) == IGNORE

    def test_a_task_that_the_chain_does_not_know_is_ignored(self, node):
        task = TaskId(label("unknown"))
        node.core.follow(task, 0)
        node.connect()
        assert node.hear("it_res", b"anything", task=task) == IGNORE
        assert questions(pull(node, task, 8)) == []

    def test_after_the_training_nothing_is_heard_or_asked_for(self, node, client):
        chain, task = client
        chain.begin(task)
        node.hear_chain(chain)
        node.core.follow(task, 0)
        node.connect()
        message = iteration(chain, 0, task=task)
        asked_messages = pulled(node, task, sync.AskSlots)
        assert node.hear("it_res", message, task=task) == ACCEPT
        chain.end_training(task)
        node.hear_chain(chain)
        assert node.hear("it_res", iteration(chain, 1, task=task), task=task) == IGNORE
        assert node.hear("model", record.encode(model(chain, task=task)), task=task) == IGNORE
        late = slot(chain, 0, [message], task=task)
        assert node.answer(asked_messages, sync.Slots((late,))) == []
        assert not node.core.following[task].history.slots
        assert questions(pull(node, task, 8)) == []

    def test_a_node_that_was_there_still_answers(self, node, client):
        chain, task = client
        chain.begin(task)
        node.hear_chain(chain)
        node.core.follow(task)
        message = iteration(chain, 0, task=task)
        node.hear("it_res", message, task=task)
        chain.end_training(task)
        node.hear_chain(chain)
        question = sync.AskMessages(task, (it_res.message_id(message),))
        assert sync.read_reply(node.ask(question)) == sync.Messages((message,))


def test_another_group_key_begins_the_history_anew(node):
    """On another fork the same miners may have other supervisors, or these another key."""
    chain = Chain()
    task = chain.submit()
    fork = chain.fork()
    chain.begin(task)
    fork.join_all(task)
    fork.mine_until(fork.task(task).since + fork.params.join_blocks)
    for ticket in fork.task(task).keying.dealers:
        fork.post(fork.account(ticket), fork.deal(task, ticket, seed=label("another key")))
    for ticket in fork.task(task).keying.members:
        fork.post(fork.account(ticket), fork.confirm(task, ticket))
    fork.mine()
    assert fork.task(task).committee.key != chain.task(task).committee.key
    node.hear_chain(chain)
    history = node.core.follow(task, 0)
    message = iteration(chain, 0, task=task)
    node.hear("it_res", message, task=task)
    node.hear("message_history", record.encode_tagged(slot(chain, 0, [message], task=task)), task=task)
    assert history.next_slot == 1
    known = node.core.following[task]
    state = fork.state
    known._ledger = lambda: state
    known.pull()
    assert (history.next_slot, history.slots) == (0, {})
    assert list(history.unrecorded) == [it_res.message_id(message)]
    assert known.record_slot(slot(fork, 0, [message], task=task)) is Verdict.ACCEPT
    assert history.next_slot == 1
