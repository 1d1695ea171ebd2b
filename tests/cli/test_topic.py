"""`p2pai topic` on a recording: what people see, what programs get, and how faults read."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest
from recordings import BEGAN_US, head
from rich.console import Console

from p2pai.cli import screen, topic_line, topic_numbers, topic_source
from p2pai.cli.topic_numbers import render_list, render_mesh, render_remotes, render_topics
from p2pai.cli.topic_publish import choose
from p2pai.gossip import recording
from p2pai.gossip.envelope import seal, sequence_at
from p2pai.gossip.recording import Entry
from p2pai.gossip.sightings import (
    Arrived,
    Blamed,
    Closed,
    Dropped,
    Grafted,
    Message,
    Opened,
    Outcome,
    Published,
    Sent,
    Subscribed,
)
from p2pai.gossip.topics import Topic
from p2pai.node.entries import entry_fields
from p2pai.primitives import address, ecdsa
from p2pai.primitives.ids import PeerId
from p2pai.shell.specs import load_spec
from tests.chain.ledger import devnet, keys
from tests.node.parts import grown, iteration

ALICE, BOB = PeerId("12D3KooWAlice11111"), PeerId("12D3KooWBobob22222")
CHAIN = grown(3)
BLOCK = str(Topic(devnet().short_id, None, "block"))
IT_RES = str(Topic(devnet().short_id, CHAIN.predefined, "it_res"))
STEP_US = 1_000_000
LATE_US = 40_000
SENDER = address.encode(devnet().prefix, ecdsa.key_hash(ecdsa.public_key(keys(4).spending)))
_numbers = count(1)


def said(topic, body, at_us):
    number = next(_numbers)
    data = seal(keys(4).spending, topic, sequence_at(at_us // 1000 - 20, number), body)
    return Message(number.to_bytes(46, "big"), bytes(38), topic, data)


def history():
    """Three blocks and two iterations that Alice brings first and Bob a little later; some of all else."""
    yield 0, Opened(ALICE)
    yield 0, Opened(BOB)
    for remote, by_remote in ((ALICE, False), (BOB, True)):
        yield 0, Subscribed(remote, BLOCK)
        yield 0, Grafted(remote, BLOCK, by_remote)
    yield 0, Subscribed(BOB, IT_RES)
    for place, (topic, body) in enumerate(
        (
            *((BLOCK, block.encoded) for block in CHAIN.blocks[:3]),
            *((IT_RES, iteration(CHAIN, n)) for n in (0, 1)),
        )
    ):
        at_us = (place + 1) * STEP_US
        message = said(topic, body, BEGAN_US + at_us)
        yield at_us, Arrived(ALICE, message, Outcome.ACCEPTED)
        yield at_us + LATE_US, Arrived(BOB, message, Outcome.DUPLICATE)
    own = said(BLOCK, CHAIN.blocks[0].encoded, BEGAN_US + 6 * STEP_US)
    yield 6 * STEP_US, Published(own)
    yield 6 * STEP_US, Sent(ALICE, BLOCK, own.id, len(own.data))
    yield 6 * STEP_US, Dropped(BOB, BLOCK, own.id, len(own.data))
    yield 7 * STEP_US, Arrived(BOB, Message(b"bad", b"x", BLOCK, b"\x1b[2Jjunk\n"), Outcome.REJECTED)
    yield 7 * STEP_US, Blamed(BOB, "rejected", 1, 15)
    yield 8 * STEP_US, Closed(BOB)


HISTORY = tuple(history())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("topic") / "seen.rec"
    entries = (recording.encode(Entry(BEGAN_US + at, what)) for at, what in HISTORY)
    path.write_bytes(recording.begin(head()) + b"".join(entries))
    return path


@pytest.fixture
def topic(p2pai, file):
    """Run a command on the recording; gives the lines of what it printed."""

    def run(*arguments):
        status, out, err = p2pai("topic", *arguments, "--from", file)
        assert (status, err) == (0, "")
        return out.splitlines()

    return run


def objects(lines):
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("time_us", [0, (1 << 63) - 1, (1 << 64) - 1])
def test_a_time_that_no_calendar_has_is_shown(time_us):
    assert len(topic_line.clock(time_us)) == len("00:00:00.000")
    assert screen.moment(time_us // STEP_US).startswith(("1970-01-01", "after"))


class TestTap:
    def test_lines_say_when_what_who_and_what_it_says(self, topic):
        lines = topic("tap")
        assert len(lines) == 7
        assert lines[0].startswith(
            f"20:26:41.000 block           {SENDER[:6]}..{SENDER[-4:]} height 1, hash "
        )
        assert "20 ms from ..ice11111" in lines[0]
        assert "iteration 0, epoch 1, ticket" in lines[3]
        assert f"task {CHAIN.predefined.hex()[:6]}" in lines[3]
        assert "of ours" in lines[5]
        assert "rejected not an envelope" in lines[6]
        assert all(line.isprintable() for line in lines)

    @pytest.mark.parametrize(
        ("arguments", "shown"),
        [
            (("it_res",), 2),
            (("chain/block",), 5),
            ((CHAIN.predefined.hex()[:6],), 2),
            (("--count", "3"), 3),
            (("--where", "name == it_res and iteration == 1"), 1),
            (("--where", f"sender == {SENDER[:8]}..{SENDER[-4:]}"), 6),
            (("--where", "height > 1"), 2),
            (("--where", "outcome == rejected or fault"), 1),
            (("--where", "remote == ..22222"), 1),
            (("--all",), len(HISTORY)),
            (("--all", "block"), len(HISTORY) - 4 - 1 - 2 * 2),
            (("--all", "--where", "seen in (grafted, dropped)"), 3),
            (("--seconds", "3"), 3),
        ],
    )
    def test_chooses(self, topic, arguments, shown):
        assert len(topic("tap", *arguments)) == shown

    def test_that_nothing_matches_is_said(self, p2pai, file):
        status, out, err = p2pai("topic", "tap", "nosuch", "--from", file)
        assert (status, out) == (0, "")
        assert err.split() == ["Nothing", "in", str(file), "matches."]

    def test_json_has_everything(self, topic):
        first, *_, last = objects(topic("tap", "--json"))
        assert {k: first[k] for k in ("seen", "outcome", "name", "sender", "latency_ms", "fault")} == {
            "seen": "arrived", "outcome": "accepted", "name": "block", "sender": SENDER,
            "latency_ms": 20, "fault": "",
        }  # fmt: skip
        assert first["time_us"] == BEGAN_US + STEP_US
        assert first["body"]["hash"] == CHAIN.blocks[0].hash.hex()
        assert last["fault"].startswith("not an envelope")

    def test_full_shows_every_field(self, topic):
        lines = topic("tap", "it_res", "--count", "1", "--full")
        assert "    body.iteration 0" in lines
        assert f"    sender {SENDER}" in lines

    @pytest.mark.parametrize("width", [80, 100, 132])
    def test_a_narrow_terminal_gets_one_line_each(self, width):
        console = Console(width=width, force_terminal=True, color_system=None)
        with console.capture() as captured:
            for at, what in HISTORY:
                fields = entry_fields(BEGAN_US + at, what, devnet().prefix)
                console.print(topic_line.line(fields), no_wrap=True, overflow="ellipsis")
        lines = captured.get().splitlines()
        assert len(lines) == len(HISTORY)
        assert max(map(len, lines)) <= width

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("--where", "iteraton > 3"), "did you mean iteration?"),
            (("--where", "name = tx"), "at character 6: two things are compared with =="),
            (("--bootstrap", "/ip4/127.0.0.1/tcp/1"), "exclude each other"),
            (("--chain", "devnet"), "is of the chain 00010203, not of"),
        ],
    )
    def test_faults_are_sentences(self, p2pai, file, arguments, sentence):
        status, out, err = p2pai("topic", "tap", "--from", file, *arguments)
        assert (status, out) == (1, "")
        assert sentence in err

    def test_what_is_no_recording_is_refused(self, p2pai, tmp_path):
        (tmp_path / "f").write_bytes(b"junk")
        for name, sentence in (("f", "no recording"), ("absent", "No such file")):
            status, _, err = p2pai("topic", "tap", "--from", tmp_path / name)
            assert status == 1
            assert sentence in err

    @pytest.mark.parametrize("command", ["list", "tap"])
    def test_a_cut_recording_is_shown_and_said_to_be_cut(self, p2pai, file, tmp_path, command):
        cut = tmp_path / "cut.rec"
        cut.write_bytes(file.read_bytes()[:-1])
        status, out, err = p2pai("topic", command, "--from", cut)
        assert (status, bool(out)) == (0, True)
        assert "ends inside an entry" in err

    def test_a_reader_that_leaves_is_no_fault(self, file):
        command = f"{sys.executable} -m p2pai topic tap --all --from {file} --json | head -n 1"
        done = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env=dict(os.environ),
        )
        assert len(done.stdout.splitlines()) == 1
        assert done.stderr == ""


class TestNumbers:
    def test_list(self, topic):
        lines = topic("list")
        assert lines[0] == "1 remote, counted for 8 s"
        rows = {line.split()[0]: line.split()[1:] for line in lines[3:]}
        assert rows["chain/block"][:2] == ["2", "1"]
        assert rows["chain/block"][-3] == "5"
        assert rows[f"{CHAIN.predefined.hex()[:6]}/it_res"][-3] == "2"
        (only,) = topic("list", "it_res")[3:]
        assert only.split() in [line.split() for line in lines]

    def test_list_tells_chains_apart(self, p2pai, tmp_path):
        path, there = tmp_path / "seen.rec", BLOCK.replace(devnet().short_id, "ffffffff")
        entries = (recording.encode(Entry(BEGAN_US, Subscribed(ALICE, name))) for name in (BLOCK, there))
        path.write_bytes(recording.begin(head()) + b"".join(entries))
        _, out, _ = p2pai("topic", "list", "--from", path)
        assert [line.split()[0] for line in out.splitlines()[3:]] == [
            f"{devnet().short_id}/chain/block",
            "ffffffff/chain/block",
        ]

    def test_stats_by_topic(self, topic):
        (row,) = [line.split() for line in topic("stats", "block") if line.startswith("chain/block")]
        assert row[1:5] == ["5", "3", "1", "1"]
        assert row[-2:] == ["40", "ms"]

    def test_stats_by_remote(self, topic):
        _, _, headings, *lines = topic("stats", "--by", "remote")
        rows = {line.split()[0]: line.split()[1:] for line in lines[:2]}
        # A unit stands apart from its number.
        assert len(headings.split()) == len(rows["..ice11111"]) + 1 - len(["%", "ms", "ms"])
        assert rows["..ice11111"] == ["5", "100", "%", "0", "0", "20", "ms", "20", "ms", "-", "0"]
        assert rows["..bob22222"][:5] == ["1", "16", "%", "1", "1"]
        assert rows["..bob22222"][-3:] == ["40", "ms", "-15"]

    def test_mesh(self, topic):
        lines = topic("mesh")
        assert [line.split() for line in lines if line.startswith("chain/block  ..ice")] == [
            ["chain/block", "..ice11111", "us", "8", "s", "0"]
        ]
        assert any("..bob22222" in line and line.startswith("chain/block") for line in lines)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (("stats", "block", "--by", "remote"), "counted over all topics"),
            (("mesh", "--dot", "--json"), "leave out --json"),
            (("mesh", "--dot", "--follow"), "leave out --json and --follow"),
        ],
    )
    def test_options_that_would_say_nothing_are_refused(self, p2pai, file, arguments, sentence):
        status, out, err = p2pai("topic", *arguments, "--from", file)
        assert (status, out) == (1, "")
        assert sentence in err

    def test_dot_is_a_graph(self, topic):
        lines = topic("mesh", "--dot")
        assert lines[0] == "digraph mesh {"
        assert f'  us -> "{ALICE}" [label="chain/block"];' in lines
        assert lines[-1] == "}"

    def test_json_is_the_report(self, p2pai_json, file):
        report = p2pai_json("topic", "stats", "--from", file)
        assert {row["topic"] for row in report["topics"]} == {BLOCK, IT_RES}

    def test_a_recording_is_not_followed(self, p2pai, file):
        status, _, err = p2pai("topic", "list", "--follow", "--from", file)
        assert (status, "does not change" in err) == (1, True)

    @pytest.mark.parametrize("render", [render_list, render_topics, render_remotes, render_mesh])
    def test_eighty_columns_are_enough(self, p2pai_json, file, render):
        report = p2pai_json("topic", "stats", "--from", file)
        for row in (*report["topics"], *report["remotes"]):
            row.update(
                messages=123_456,
                bytes=987_654_321,
                duplicate=99_999,
                latency_us={"p50": 999_999, "p90": 9_900_000, "p99": 59_900_000},
            )
        console = Console(width=80)
        with console.capture() as captured:
            console.print(render(report) if render is render_remotes else render(report, "*"))
        text = captured.get()
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80

    def test_names_of_remotes_can_do_no_harm(self):
        link = {"remote": 'a"]\x1b[2J', "since_us": 0, "by_remote": True}
        report = {"now_us": 0, "began_us": 0, "topics": [{"topic": BLOCK, "mesh": [link], "followers": []}]}
        graph = topic_numbers.graph(report, "*")
        assert '\\"]\\\\x1b' in graph
        assert "\x1b" not in graph


class TestPlay:
    def test_that_nothing_matches_is_a_status(self, p2pai, tmp_path):
        path = tmp_path / "seen.rec"
        path.write_bytes(recording.begin(replace(head(), chain=load_spec("devnet").id)))
        status, out, err = p2pai("topic", "play", path, "--topic", "block", "--json")
        assert (status, out) == (1, "")
        assert "holds no message on a topic that block means" in err


class TestRemarks:
    @pytest.mark.parametrize(
        ("chains", "pattern", "said"),
        [
            (("0a1b2c3d",), "*", "follow topics of the chain 0a1b2c3d alone"),
            (("0a1b2c3d", devnet().short_id), "*", ""),
            ((devnet().short_id,), "tx", "there are: chain/block"),
            ((), "*", "there are: none"),
        ],
    )
    def test_another_chain_and_silence_are_explained_once(self, capsys, chains, pattern, said):
        topics = [str(Topic(chain, None, "block")) for chain in chains]
        remarks = topic_source.Remarks(lambda: topics, devnet(), pattern)
        for _ in range(3 * topic_source.SILENCE_TICKS):
            remarks.tick()
        err = capsys.readouterr().err
        assert len(err.splitlines()) == bool(said)
        assert said in err


class TestPublish:
    def test_one_topic_must_be_meant(self):
        known = (BLOCK, IT_RES)
        assert choose("block", known) == BLOCK
        assert choose(IT_RES, known) == IT_RES
        assert choose("tx", known) is None
        with pytest.raises(Exception, match="say which"):
            choose("*", known)

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ((), "one of --text, --hex and --file"),
            (("--text", "a", "--hex", "00"), "one of --text, --hex and --file"),
            (("--hex", "0"), "pairs of hexadecimal digits"),
            (("--text", "a" * (1 << 18)), "at most"),
            (("--text", "a", "--key", "k", "--dev-account", "1"), "exclude each other"),
            (("--text", "a", "--dev-account", "99999"), "account"),
            (("--text", "a"), "no node is running"),
        ],
    )
    def test_faults_are_sentences(self, p2pai, tmp_path, arguments, sentence):
        status, out, err = p2pai("topic", "publish", "block", *arguments, "--data-dir", tmp_path)
        assert (status, out) == (1, "")
        assert sentence in err
        assert len(err.splitlines()) == 1

    def test_a_key_file_is_its_owners(self, p2pai, tmp_path):
        key = tmp_path / "key"
        for content, mode, sentence in (
            ("ab" * 32, 0o644, "others can read"),
            ("no key", 0o600, "64 hexadecimal digits"),
            ("ab" * 32, 0o600, "no node is running"),
        ):
            key.write_text(content)
            key.chmod(mode)
            status, _, err = p2pai(
                "topic", "publish", "block", "--text", "a", "--key", key, "--data-dir", tmp_path
            )
            assert status == 1
            assert sentence in err
