"""The laboratory for real: sockets in namespaces, behind routers, cut off; and nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2pai.primitives.errors import Unavailable
from testnet.devnet import netlab
from testnet.devnet.inside import Inside
from testnet.devnet.netlab import LabFailure, Link, NetLab
from testnet.devnet.translation import Kind

ROOT = Path(__file__).parents[2]

SERVER = """
import socket, threading
server = socket.create_server(("", 4000))
print("ready", flush=True)
def serve(caller, address):
    with caller:
        while data := caller.recv(65536):
            caller.sendall(data)
while True:
    threading.Thread(target=serve, args=server.accept(), daemon=True).start()
"""

CALLER = """
import json, socket, sys, time
host, size, timeout = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
begin = time.monotonic()
try:
    with socket.create_connection((host, 4000), timeout) as call:
        connected = time.monotonic()
        source = call.getsockname()[0]
        call.sendall(b"x" * size)
        got = 0
        while got < size:
            got += len(call.recv(65536))
    print(json.dumps({"source": source, "connect_s": connected - begin, "all_s": time.monotonic() - begin}))
except OSError as error:
    print(json.dumps({"error": type(error).__name__}))
"""

needs_lab = pytest.mark.skipif(netlab.missing() is not None, reason=netlab.missing() or "")


def serve(lab, node):
    server = lab.start(node, (sys.executable, "-S", "-c", SERVER), stdout=subprocess.PIPE)
    assert server.stdout.readline() == b"ready\n"
    server.stdout.close()


def call(lab, node, host, size=100, timeout_s=1.0):
    done = lab.run(node, (sys.executable, "-S", "-c", CALLER, host, str(size), str(timeout_s)))
    return json.loads(done.stdout)


def namespaces():
    return {path.name for path in Path("/run/netns").glob("*")}


@needs_lab
def test_delay_loss_and_cuts_are_felt_by_real_sockets():
    with NetLab(3, Link(delay_ms=30)) as lab:
        serve(lab, 1)
        slow = call(lab, 2, lab.address(1))
        assert slow["source"] == lab.address(2)
        assert 0.060 <= slow["connect_s"] < 0.5

        lab.shape([1], [2], Link())
        assert call(lab, 2, lab.address(1))["connect_s"] < 0.05
        assert call(lab, 3, lab.address(1))["connect_s"] >= 0.06

        lab.shape([1], [2], Link(loss=0.2))
        assert "error" not in call(lab, 2, lab.address(1), 100_000, timeout_s=20)
        assert lab.counts()["lost"] > 0

        lab.cut([1], [2], one_way=True)
        assert call(lab, 2, lab.address(1), timeout_s=0.3) == {"error": "TimeoutError"}
        assert "error" not in call(lab, 3, lab.address(1))
        lab.heal()
        assert "error" not in call(lab, 2, lab.address(1), timeout_s=5)


@needs_lab
def test_a_thread_of_ours_calls_what_listens_on_loopback_inside():
    def call_own():
        with socket.create_connection(("127.0.0.1", 4000), 2) as own:
            own.sendall(b"x")
            return own.recv(1)

    with NetLab(2) as lab:
        serve(lab, 1)
        here, there = Inside(lab.namespace(1)), Inside(lab.namespace(2))
        assert here(call_own) == b"x"
        with pytest.raises(ConnectionRefusedError):
            there(call_own)
        here.close(), there.close()
    with pytest.raises(Unavailable, match="can't be entered"):
        Inside("p2pai-lab-none")


@needs_lab
def test_one_of_several_cuts_is_mended():
    with NetLab(3) as lab:
        serve(lab, 1)
        lab.cut([1], [2, 3])
        lab.mend([1], [2])
        assert "error" not in call(lab, 2, lab.address(1))
        assert call(lab, 3, lab.address(1), timeout_s=0.3) == {"error": "TimeoutError"}


@needs_lab
def test_copies_and_disorder_do_not_harm_a_connection():
    with NetLab(2, Link(copies=0.3, disorder=0.1)) as lab:
        serve(lab, 1)
        assert "error" not in call(lab, 2, lab.address(1), 300_000, timeout_s=20)
        counts = lab.counts()
        assert counts["copied"] > 0
        assert counts["disordered"] > 0


@needs_lab
def test_a_narrow_way_out_is_narrow():
    with NetLab(2) as lab:
        serve(lab, 1)
        lab.narrow(2, 2_000_000)
        assert call(lab, 2, lab.address(1), 100_000, timeout_s=10)["all_s"] > 0.35


@needs_lab
def test_a_node_behind_a_router_reaches_others_and_is_not_reached():
    with NetLab(2, nats={2: Kind.PORT_RESTRICTED}) as lab:
        serve(lab, 1)
        serve(lab, 2)
        assert call(lab, 2, lab.address(1), 200_000)["source"] == lab.own_address(2) == "192.168.2.2"
        assert call(lab, 1, lab.address(2), timeout_s=0.3) == {"error": "TimeoutError"}
        assert lab.counts()["kept_out"] > 0


@needs_lab
def test_a_narrow_link_is_narrow():
    with NetLab(2, Link(rate_bps=2_000_000)) as lab:
        serve(lab, 1)
        # 100 KB there, and back while they arrive.
        assert call(lab, 2, lab.address(1), 100_000, timeout_s=10)["all_s"] > 0.35


@needs_lab
def test_two_laboratories_at_once_do_not_meet():
    with NetLab(1) as one, NetLab(1) as other:
        assert one.address(1) == other.address(1)
        assert one.namespace(1) != other.namespace(1)


@needs_lab
def test_nothing_is_left_behind():
    with NetLab(2) as lab:
        ours = {lab.namespace(node) for node in lab.nodes}
        server = lab.start(1, (sys.executable, "-S", "-c", SERVER))
        assert ours <= namespaces()
    assert server.returncode is not None
    assert not ours & namespaces()


@needs_lab
def test_nothing_is_left_behind_by_a_program_that_was_killed():
    program = (
        "import subprocess, sys, time\n"
        "from testnet.devnet.netlab import NetLab\n"
        "with NetLab(1) as lab:\n"
        "    child = lab.start(1, ('sleep', '1000'))\n"
        "    print(lab.namespace(1), child.pid, flush=True)\n"
        "    time.sleep(1000)\n"
    )
    with subprocess.Popen((sys.executable, "-c", program), cwd=ROOT, stdout=subprocess.PIPE) as user:
        name, pid = user.stdout.readline().decode().split()
        assert name in namespaces()
        user.send_signal(signal.SIGKILL)
    assert vanishes(Path("/run/netns", name))
    assert vanishes(Path("/proc", pid))


@needs_lab
def test_a_network_that_was_killed_is_a_clear_error_and_cleaned_up():
    with NetLab(1) as lab:
        name = lab.namespace(1)
        os.kill(int(name.split("-")[2]), signal.SIGKILL)
        with pytest.raises(LabFailure, match="has ended"):
            lab.counts()
    assert name not in namespaces()


def vanishes(path, deadline_s=5.0):
    end = time.monotonic() + deadline_s
    while path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return not path.exists()


@pytest.mark.parametrize("count", [0, 251])
def test_there_are_no_empty_and_no_huge_laboratories(count):
    with pytest.raises(ValueError, match="1 to 250"):
        NetLab(count)


def test_who_may_not_make_one_is_told(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unavailable, match="needs root"), NetLab(1):
        pass
