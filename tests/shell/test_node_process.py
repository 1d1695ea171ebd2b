"""Whole nodes as processes: real network, journal, trainer and RPC; only the core is scripted."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from parts import journal_of

from p2pai.primitives import ecdsa
from p2pai.primitives.errors import P2paiError, Unavailable
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.primitives.keys import derive_keys
from p2pai.shell import config
from p2pai.shell.client import RpcClient

CHILD = Path(__file__).with_name("node_child.py")
ROOT = Path(__file__).parents[2]
START_S_MAX = 30
STOP_S_MAX = 5

SPEC = """
name = "shelltest"
prefix = "dpai"
[params]
[genesis]
time = 1700000000
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def _spawn(script, spec, directory, *bootstrap):
    return subprocess.Popen(
        [sys.executable, str(CHILD), script, str(spec), str(directory), *bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@contextmanager
def running(script, spec, directory, *bootstrap):
    """Run a node until the end of the block; yields the process and its address, once it serves."""
    node = _spawn(script, spec, directory, *bootstrap)
    try:
        address = node.stdout.readline().strip()
        assert address, node.stderr.read()
        yield node, address
    finally:
        node.kill()
        node.communicate(timeout=START_S_MAX)


def _stop(node, number=signal.SIGTERM):
    """Send a signal; returns the exit status, the seconds it took, and what was said on stderr."""
    started_s = time.monotonic()
    node.send_signal(number)
    _, said = node.communicate(timeout=START_S_MAX)
    return node.returncode, time.monotonic() - started_s, said


def _until(check):
    end_s = time.monotonic() + START_S_MAX
    while time.monotonic() < end_s:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def _seen(directory, kind):
    events = RpcClient(directory).call("seen", {})
    return [event for event in events if event.startswith(kind)]


def _children(pid):
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_serves_and_ends_in_order(tmp_path, spec, number):
    directory = tmp_path / "node"
    with running("quiet", spec, directory) as (node, address):
        assert RpcClient(directory).call("echo", {"a": 1}) == {"a": 1}
        record = config.load(directory)
        assert address.endswith(f"/p2p/{record.peer_id}")
        assert record.config.chain == str(spec)
        assert record.public_key == ecdsa.public_key(derive_keys(b"\x09" * 32).spending)
        for path in directory.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path
        status, seconds, said = _stop(node, number)
    assert (status, said) == (0, "")
    assert seconds < STOP_S_MAX
    assert not (directory / "rpc.json").exists()
    with pytest.raises(Unavailable, match="no node is running"):
        RpcClient(directory).call("echo", {})


def test_the_trainer_ends_with_its_node(tmp_path, spec):
    with running("training", spec, tmp_path / "node") as (node, _):
        children = _until(lambda: _children(node.pid))
        status, _, _ = _stop(node)
        assert status == 0
    _until(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def test_a_second_node_on_one_directory_is_refused(tmp_path, spec):
    directory = tmp_path / "node"
    with running("quiet", spec, directory):
        second = _spawn("quiet", spec, directory)
        _, said = second.communicate(timeout=START_S_MAX)
        assert second.returncode == 1
        assert "another node is running on" in said
        assert "Traceback" not in said
        assert RpcClient(directory).call("echo", {}) == {}


def _refusal(*arguments):
    node = _spawn("quiet", *arguments)
    _, said = node.communicate(timeout=START_S_MAX)
    assert node.returncode == 1
    return said


def test_what_keeps_a_node_from_starting_is_one_sentence(tmp_path, spec):
    directory = tmp_path / "node"
    assert "malformed" in _refusal(spec, directory, "/ip4/nonsense")
    assert "there is no chain" in _refusal(tmp_path / "absent.toml", directory)
    other = tmp_path / "other"
    other.mkdir()
    config.save(config.NodeRecord(config.Config(other, str(spec)), PeerId("12D3"), PublicKey(b"\2" * 33)))
    said = _refusal(spec, other)
    assert said == f"{other} is of a node with other keys; choose another --data-dir\n"


def test_a_bug_of_the_core_ends_the_node_with_a_sentence(tmp_path, spec):
    directory = tmp_path / "node"
    with running("buggy", spec, directory) as (node, _):
        # The node may be gone before it has answered.
        with contextlib.suppress(P2paiError):
            RpcClient(directory).call("task.submit", {})
        _, said = node.communicate(timeout=STOP_S_MAX)
    assert node.returncode == 1
    assert "the node found a bug in itself and stopped" in said
    assert "two tips" in said
    assert "Traceback" not in said
    assert "Traceback" in (directory / "node.log").read_text()


def test_a_node_that_hangs_is_ended_in_time(tmp_path, spec):
    directory = tmp_path / "node"
    with running("hanging", spec, directory) as (node, _):
        caller = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from pathlib import Path; from p2pai.shell.client import RpcClient;"
                "RpcClient(Path(sys.argv[1])).call('task.submit', {})",
                str(directory),
            ],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            assert node.stdout.readline() == "hanging\n"
            status, seconds, _ = _stop(node)
        finally:
            caller.kill()
            caller.wait()
    assert status == -signal.SIGALRM
    assert 3 < seconds < STOP_S_MAX


def test_what_was_persisted_survives_kill_9(tmp_path, spec):
    directory = tmp_path / "node"
    for life in range(2):
        with running("writing", spec, directory) as (node, _):
            started = _seen(directory, "Started")
            assert started[0].count("b'") == life
            RpcClient(directory).call("task.submit", {"life": life})
            _until(lambda: _seen(directory, "Persisted"))
            _stop(node, signal.SIGKILL)
    assert len(journal_of(directory)) == 2


def test_two_nodes_find_ask_and_answer_each_other(tmp_path, spec):
    first, second = tmp_path / "first", tmp_path / "second"
    with running("answering", spec, first) as (_, address), running("asking", spec, second, address) as _:
        answered = _until(lambda: _seen(second, "Answered"))
        assert config.load(first).peer_id in answered[0]
        assert "b'heard hello'" in answered[0]
        assert _seen(first, "Asked")


def test_a_blob_moves_from_node_to_node(tmp_path, spec):
    first, second = tmp_path / "first", tmp_path / "second"
    with running("giving", spec, first) as (_, address), running("taking", spec, second, address) as _:
        fetched = _until(lambda: _seen(second, "Fetched"))
        assert "data=b'a blob in two chunks'" in fetched[0]
