"""Recorded nodes live again: to the same hashes, through a kill, and not past what is not deterministic."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from p2pai.chain.spec import dev_account_seed
from p2pai.events import Received
from p2pai.gossip.message_names import read_name
from p2pai.gossip.recording import Entry, Happened, Noted, Reacted, Reading, begin, encode
from p2pai.gossip.sightings import Arrived, Published
from p2pai.node import core as node_core
from p2pai.node.reenactment import Reenactment, number_of
from p2pai.primitives import address, cbor
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import PublishedKeys
from testnet.simulator.network import ROLES, name_of, network, order, quick_spec
from testnet.simulator.recordings import Recordings

pytestmark = pytest.mark.usefixtures("shared")

ROOT = Path(__file__).parents[2]
ACCOUNTS = (7, 8, 1, 2)


def spend(made, atoms):
    """Let account 7 pay account 8."""
    whom = address.encode(made.spec.prefix, made.core(8).identity.key_hash)
    made.world.submit(name_of(7), "wallet.send", cbor.encode({"address": whom, "atoms": atoms}))
    made.world.run(lambda: False, 1)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return the files of a short history without training, in which a node is killed, and its world."""
    with Recordings(tmp_path_factory.mktemp("recordings")) as recordings:
        made = network(3, accounts=ACCOUNTS, recordings=recordings)
        for atoms in range(1, 13):
            spend(made, atoms)
        made.restart(8)
        made.world.run(lambda: False, 15)
    return recordings, made


def source(account):
    return PublishedKeys(dev_account_seed(quick_spec().name, account))


def read(recorded, account):
    return Reading([recorded[0].path(name_of(account)).read_bytes()])


def relive(recorded, account):
    again = Reenactment(read(recorded, account), source(account))
    moments = list(again.moments())
    return again, moments


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_recorded_node_lives_again(recorded, account):
    again, moments = relive(recorded, account)
    assert not moments[-1].departure
    assert again.checked > 0
    assert again.core is not recorded[1].core(account)
    assert again.core.state == recorded[1].core(account).state
    ours, theirs = ((core.remotes, list(core.awaited())) for core in (again.core, recorded[1].core(account)))
    assert ours == theirs


def test_every_event_and_every_hash_is_checked(recorded):
    entries = [entry.what for entry in read(recorded, 8)]
    again, moments = relive(recorded, 8)
    assert len(moments) == sum(isinstance(what, Reacted) for what in entries)
    assert again.checked == sum(isinstance(what, Noted) for what in entries)


def test_chance_in_the_core_is_found_where_it_first_acts(recorded, monkeypatch):
    calls = iter(range(1000))
    plain = node_core.seal

    def seal(secret, topic, sequence, body):
        # As a core would that looks at a clock of its own.
        return plain(secret, topic, sequence + (next(calls) > 2), body)

    monkeypatch.setattr(node_core, "seal", seal)
    _, moments = relive(recorded, 7)
    assert moments[-1].departure == "Publish, 1 of 1 effects, is another than the one that was recorded"
    assert moments[-1].different == moments[-1].effects[0]
    assert sum(type(e).__name__ == "Publish" for moment in moments for e in moment.effects) == 4


def test_a_hidden_difference_is_found_by_the_next_state_hash(recorded):
    """A core that forgets a remote does not show it at once."""
    again = Reenactment(read(recorded, 7), source(7))
    for moment in again.moments():
        if moment.number == 30:
            again.core.remotes.popitem()
    assert moment.number == 32
    assert moment.departure.startswith("the state hash is ")


def test_a_bug_that_stopped_the_node_comes_again(recorded, monkeypatch):
    def fail(self, remote, topic, data):
        raise AssertionError("two tips")

    entries = list(read(recorded, 8))
    at = next(i for i, e in enumerate(entries) if isinstance(getattr(e.what, "event", None), Received))
    cut = begin(read(recorded, 8).head) + b"".join(map(encode, entries[: at + 1]))
    monkeypatch.setattr(node_core.NodeCore, "_receive", fail)
    moment = list(Reenactment(Reading([cut]), source(8)).moments())[-1]
    assert "the recording ends here too: AssertionError('two tips')" in moment.departure


def test_a_message_names_a_moment(recorded):
    entries = [entry.what for entry in read(recorded, 8)]
    at = next(i for i, what in enumerate(entries) if isinstance(what, Arrived) and i > 40)
    wanted = entries[at].message.id.hex()
    number = number_of(read(recorded, 8), read_name(wanted))
    happened = [what for what in entries if isinstance(what, Happened)]
    assert happened[number - 1].event.data == entries[at].message.data


def test_no_message_is_named_by_other_digits(recorded):
    with pytest.raises(InvalidInput, match="no such message"):
        number_of(read(recorded, 7), read_name("00" * 12))


def test_other_keys_are_refused(recorded):
    with pytest.raises(InvalidInput, match="keys"):
        Reenactment(read(recorded, 7), source(8))


def test_no_recording_holds_a_secret_key(recorded):
    """Not as it is, nor what it is derived from; of the whole network, in any recording."""
    keys = [source(account).account(0) for account in ACCOUNTS]
    secrets = [secret for k in keys for secret in (k.spending, k.vrf, k.bls)]
    secrets += [dev_account_seed(quick_spec().name, account) for account in ACCOUNTS]
    for account in ACCOUNTS:
        data = recorded[0].path(name_of(account)).read_bytes()
        assert not [secret for secret in secrets if secret in data or secret.hex().encode() in data]


def test_effects_without_an_event_are_refused(recorded):
    head = read(recorded, 7).head
    stray = encode(Entry(0, Reacted((), ())))
    with pytest.raises(InvalidInput, match="without an event"):
        list(Reenactment(Reading([begin(head), stray]), source(7)).moments())


def command(*arguments, seed="0"):
    """Run `p2pai topic replay` as a process."""
    return subprocess.run(
        [sys.executable, "-m", "p2pai", "topic", "replay", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        check=False,
    )


def test_the_state_hash_is_the_same_in_another_process_whatever_its_hash_seed(recorded):
    again, _ = relive(recorded, 8)
    file = recorded[0].path(name_of(8))
    for seed in ("1", "2"):
        answer = json.loads(command(file, "--json", seed=seed).stdout)
        assert answer["state"] == again.standing.note(again.core).state.hex()
        assert (answer["number"], answer["departure"]) == (again.number, "")


def test_the_command_shows_what_one_event_changed(recorded, p2pai):
    """The event is one by which account 8 hears of a payment."""
    file = recorded[0].path(name_of(8))
    entries = [entry.what for entry in read(recorded, 8)]
    arrived = next(what for what in entries if isinstance(what, Arrived) and "/tx/" in what.message.topic)
    status, out, _ = p2pai(
        "topic", "replay", file, "--until", arrived.message.id.hex(), "--changes", "--json"
    )
    answer = json.loads(out)
    assert status == 0
    assert answer["event"]["kind"] == "Received"
    assert answer["changes"]["node.mempool"] == [0, 1]
    assert "parts.ledger" not in answer["changes"]


def test_the_command_shows_what_was_recorded(recorded, p2pai):
    status, out, _ = p2pai(
        "topic", "replay", recorded[0].path(name_of(8)), "--until", "40", "--recorded", "--json"
    )
    answer = json.loads(out)
    assert (status, answer["number"], answer["noted"]["number"]) == (0, 40, 32)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--until", "99999"), "there is none of number 99999"),
        (("--changes",), "--changes needs --until"),
        (("--recorded", "--verify"), "nothing to verify"),
        (("--until", "zzz"), "hexadecimal digits"),
        (("--until", "0" * 20), "no such message"),
    ],
)
def test_the_command_refuses_moments_that_are_none(recorded, p2pai, options, sentence):
    status, _, err = p2pai("topic", "replay", recorded[0].path(name_of(8)), *options)
    assert status == 1
    assert sentence in err


def test_a_departure_is_a_status(recorded, p2pai, tmp_path):
    """One answer from outside is another one than was recorded."""
    reading = read(recorded, 8)
    entries = list(reading)
    at = next(i for i, e in enumerate(entries) if isinstance(getattr(e.what, "event", None), Received))
    other = replace(entries[at].what, event=replace(entries[at].what.event, data=b"garbage"))
    entries[at] = replace(entries[at], what=other)
    file = tmp_path / "other.rec"
    file.write_bytes(begin(reading.head) + b"".join(map(encode, entries)))
    status, out, _ = p2pai("topic", "replay", file, "--verify", "--json")
    assert status == 1
    assert "answers with Judge, recorded was SetTimer, Judge" in json.loads(out)["departure"]


def files(recorded):
    return [recorded[0].path(name_of(account)) for account in ACCOUNTS]


def payment(recorded):
    """Return a message by which account 7 announced a payment."""
    said = (entry.what for entry in read(recorded, 7))
    return next(w.message for w in said if isinstance(w, Published) and "/tx/" in w.message.topic)


def test_a_payment_goes_from_its_author_to_all(recorded, p2pai):
    message = payment(recorded)
    status, out, _ = p2pai("topic", "trace", message.id.hex()[-12:], *files(recorded), "--json")
    answer = json.loads(out)
    (root,) = answer["tree"]
    assert (status, answer["author"], root["node"]) == (0, "n7", "n7")
    assert {branch["node"] for branch in root["children"]} == {"n8", "n1", "n2"}
    assert all(5_000 <= branch["after_us"] <= 40_000 for branch in root["children"])


def test_two_nodes_of_one_history_differ_by_what_one_slept_through(recorded, p2pai):
    """Account 8 was down for a second, in which account 7 said its payments again, or did not."""
    status, out, _ = p2pai("topic", "diff", *files(recorded)[:2], "--json")
    answer = json.loads(out)
    ours, theirs = ({w.message.id for w in what_was_heard(recorded, account)} for account in (7, 8))
    assert (status, answer["both"]) == (0, len(ours & theirs))
    assert answer["only"][0] <= len(ours - theirs)
    assert answer["clock"]["error_us"] <= 40_000


def what_was_heard(recorded, account):
    return [entry.what for entry in read(recorded, account) if isinstance(entry.what, Arrived | Published)]


def test_a_new_core_makes_the_same_of_what_it_hears(recorded, p2pai):
    status, out, _ = p2pai("topic", "play", recorded[0].path(name_of(2)), "--topic", "chain/*", "--json")
    answer = json.loads(out)
    core = recorded[1].core(2)
    assert (status, answer["judged_differently"]) == (0, [])
    assert (answer["tip"], answer["mempool"]) == (core.state.tip.hex(), len(core.ledger.mempool))


@pytest.mark.parametrize("name", ["diff", "trace", "play", "replay"])
def test_other_files_are_refused_in_a_sentence(p2pai, tmp_path, name):
    notes = tmp_path / "notes.txt"
    notes.write_text("no recording at all")
    before = ("abcd",) if name == "trace" else (notes,) if name == "diff" else ()
    status, _, err = p2pai("topic", name, *before, notes)
    assert status == 1
    assert "notes.txt: this is no recording of p2pai" in err
    status, _, err = p2pai(
        "topic", name, *("abcd",)[: name == "trace"], *(tmp_path / "b",) * (1 + (name == "diff"))
    )
    assert status == 1
    assert "No such file" in err


def test_a_cut_end_is_told(recorded, p2pai, tmp_path):
    file = tmp_path / "cut.rec"
    file.write_bytes(recorded[0].path(name_of(7)).read_bytes()[:-5])
    status, _, err = p2pai("topic", "replay", file, "--verify")
    assert status == 0
    assert "ends inside an entry" in err


@pytest.mark.slow
def test_nodes_that_train_live_again(tmp_path):
    """A history with every role, a task, and a miner that is killed; two minutes on a busy machine."""
    with Recordings(tmp_path) as recordings:
        made = network(3, recordings=recordings)
        assert made.world.run(lambda: made.core(7).state.height >= 2, 60)
        made.restart(4)
        made.submit(order())
        made.world.run(lambda: False, 10)
    for account in ROLES:
        if name_of(account) in made.cores:
            again, moments = relive((recordings, made), account)
            assert not moments[-1].departure
            assert again.core.state == made.core(account).state
