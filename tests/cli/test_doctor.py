"""`p2pai doctor`: lines for people, JSON for programs, and a status for scripts."""

import json
import socket

import pytest

from p2pai.cli import doctor
from p2pai.shell.checkup import machine
from p2pai.shell.checkup.finding import ok


@pytest.fixture(autouse=True)
def quick_device(monkeypatch):
    """Training takes seconds; tests/shell/checkup has it."""
    monkeypatch.setattr(machine, "check_device", lambda: ok("device", "not looked at"))


def test_a_running_node_is_asked(p2pai, node, tmp_path):
    tmp_path.chmod(0o700)
    status, out, err = p2pai("doctor")
    assert (status, err) == (0, "")
    assert "ok   port: the node is at /ip4/" in out
    assert "ok   reachability: 2 of 3 remotes reached this node" in out
    assert "warn clock: 1.500 s ahead of the others'" in out
    assert "timedatectl" in out
    assert ("node.network", {}) in node.asked


def test_what_must_be_mended_is_a_status(p2pai, tmp_path, monkeypatch):
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        listen = f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}"
        status, out, err = p2pai("doctor", "--listen", listen, "--json")
    assert (status, err) == (1, "")
    found = {finding["check"]: finding for finding in json.loads(out)}
    assert found["port"]["level"] == "fail"
    assert found["port"]["advice"]
    assert {"disk space", "disk", "memory", "descriptors", "libraries", "keys", "journal"} <= set(found)
    assert "reachability" not in found


def test_without_anybody_to_ask_it_says_so(p2pai, tmp_path, monkeypatch):
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path))
    status, out, _ = p2pai("doctor", "--listen", "/ip4/127.0.0.1/tcp/0")
    assert status == 0
    assert "warn reachability: there is nobody to ask" in out


def test_a_terminal_is_told_what_takes_long(p2pai, tmp_path, monkeypatch):
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("FORCE_COLOR", "1")
    _, out, err = p2pai("doctor", "--listen", "/ip4/127.0.0.1/tcp/0")
    assert "device: training" in err
    assert "port: loading" in err
    assert "training a little" not in out


def test_wrong_words_are_a_sentence(p2pai, tmp_path, monkeypatch):
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path))
    status, _, err = p2pai("doctor", "--chain", "nowhere")
    assert status == 1
    assert "there is no chain nowhere" in err
    status, out, _ = p2pai("doctor", "--listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", "nonsense")
    assert status == 1
    assert "fail remotes: not a multiaddr" in out


def test_levels_have_colours():
    assert set(doctor.STYLES) == {"ok", "warn", "fail"}
