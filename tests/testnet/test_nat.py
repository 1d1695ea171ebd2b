"""Nodes behind routers, for real: who learns what, who reaches whom, and by which way.

Minutes in all, so not run before a commit: `make lab`.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testnet.devnet import netlab
from testnet.devnet.netlab import Link, NetLab
from testnet.devnet.translation import Kind

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(netlab.missing() is not None, reason=netlab.missing() or ""),
]

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("nat_node.py")
LISTEN = "/ip4/0.0.0.0/tcp/4001"


class Village:
    """Nodes of a laboratory, one a namespace, and what each said last."""

    def __init__(self, lab, directory):
        self.lab, self.directory = lab, directory

    def start(self, number, name, bootstrap=(), **ways):
        plan = {
            "name": name,
            "identity": str(self.directory / f"{name}.key"),
            "listen": LISTEN,
            "bootstrap": list(bootstrap),
            "ways": ways,
        }
        output = (self.directory / f"{name}.out").open("wb")
        self.lab.start(number, (sys.executable, str(PROGRAM), json.dumps(plan)), stdout=output)
        output.close()
        self.until(lambda: self.says(name))

    def says(self, name):
        # Beside what it reports, the network logs; the last line may not be whole yet.
        lines = (self.directory / f"{name}.out").read_bytes().split(b"\n")[:-1]
        said = [line for line in lines if line.startswith(b"{")]
        return json.loads(said[-1]) if said else None

    def ways(self, name, other):
        """Return how the connections of one to another go."""
        return set(self.says(name)["connections"].get(self.says(other)["id"], ()))

    def hears(self, name):
        return {text.split()[0] for text in self.says(name)["heard"]}

    def until(self, holds, deadline_s=60.0):
        end = time.monotonic() + deadline_s
        while not holds():
            assert time.monotonic() < end, json.dumps(self.report())
            time.sleep(0.2)

    def report(self):
        return {path.stem: self.says(path.stem) for path in self.directory.glob("*.out")}


def settle(tmp_path, lab):
    """Start a public relay; returns the village and the relay's address."""
    village = Village(lab, tmp_path)
    village.start(1, "relay", relay_service=True)
    return village, f"/ip4/{lab.address(1)}/tcp/4001/p2p/{village.says('relay')['id']}"


def test_nodes_learn_how_others_see_them(tmp_path):
    with NetLab(3, Link(delay_ms=10), nats={2: Kind.FULL_CONE, 3: Kind.SYMMETRIC}) as lab:
        village, relay = settle(tmp_path, lab)
        village.start(2, "cone", [relay], circuits=False)
        village.start(3, "symmetric", [relay], circuits=False)
        village.until(lambda: village.says("relay")["reach"] == "reachable")
        assert village.says("relay")["reached_at"] == [f"/ip4/{lab.address(1)}/tcp/4001"]
        for name in ("cone", "symmetric"):
            village.until(lambda: village.says(name)["reach"] == "unreachable")  # noqa: B023
            village.until(lambda: "relay" in village.hears(name))  # noqa: B023
        assert village.ways("cone", "symmetric") == set()


def test_two_behind_routers_meet_at_a_relay_and_punch_a_hole(tmp_path):
    kind = Kind.PORT_RESTRICTED
    with NetLab(3, Link(delay_ms=10), nats={2: kind, 3: kind}) as lab:
        village, relay = settle(tmp_path, lab)
        village.start(2, "left", [relay])
        village.start(3, "right", [relay])
        village.until(lambda: "circuit" in village.ways("left", "right"))
        village.until(lambda: village.ways("left", "right") == village.ways("right", "left") == {"direct"})
        # What was on the circuit goes on beside it, and without the relay.
        lab.cut([1], [2, 3])
        village.until(lambda: village.hears("left") == {"right"} and village.hears("right") == {"left"})


def test_where_no_hole_can_be_punched_the_circuit_stays(tmp_path):
    with NetLab(3, Link(delay_ms=10), nats={2: Kind.SYMMETRIC, 3: Kind.PORT_RESTRICTED}) as lab:
        village, relay = settle(tmp_path, lab)
        village.start(2, "left", [relay])
        village.start(3, "right", [relay])
        village.until(lambda: village.ways("left", "right") == {"circuit"})
        left, right = village.says("left")["id"], village.says("right")["id"]
        village.until(
            lambda: right in village.says("left")["links"] and left in village.says("right")["links"]
        )
        # Three attempts, each of three rounds.
        time.sleep(25)
        assert village.ways("left", "right") == {"circuit"}
        assert village.hears("left") >= {"right"}


def test_a_hidden_node_is_called_by_a_public_one_and_calls_back(tmp_path):
    with NetLab(3, Link(delay_ms=10), nats={2: Kind.SYMMETRIC}) as lab:
        village, relay = settle(tmp_path, lab)
        village.start(2, "hidden", [relay])
        village.until(lambda: any("/p2p-circuit/" in text for text in village.says("hidden")["tells"]))
        hidden = next(text for text in village.says("hidden")["tells"] if "/p2p-circuit/" in text)
        village.start(3, "public", [hidden])
        village.until(lambda: "direct" in village.ways("public", "hidden"))


def test_the_doctor_says_what_to_do(tmp_path):
    with NetLab(2, nats={2: Kind.PORT_RESTRICTED}) as lab:
        # A node of devnet's chain, for the doctor knows no other by name.
        node = (
            sys.executable, "-m", "p2pai", "start", "--data-dir", str(tmp_path / "node"), "--listen", LISTEN,
            "--dev-account", "0", "--relay-service", "--announce", f"/ip4/{lab.address(1)}/tcp/4001",
        )  # fmt: skip
        with (tmp_path / "node.out").open("wb") as output:
            lab.start(1, node, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        end = time.monotonic() + 60
        while b"multiaddr" not in (tmp_path / "node.out").read_bytes():
            assert time.monotonic() < end, (tmp_path / "node.out").read_text()
            time.sleep(0.2)
        lines = (tmp_path / "node.out").read_text().splitlines()
        address = next(line.split()[1] for line in lines if "multiaddr" in line)
        assert address.startswith(f"/ip4/{lab.address(1)}/tcp/4001/p2p/")
        command = (sys.executable, "-m", "p2pai", "doctor", "--data-dir", str(tmp_path / "new"), "--json")
        done = lab.run(2, (*command, "--bootstrap", address), timeout_s=120)
        found = {finding["check"]: finding for finding in json.loads(done.stdout)}
        assert found["remotes"]["level"] == "ok", found
        assert found["reachability"]["level"] == "warn"
        assert "1 of 1 remotes can't call this node" in found["reachability"]["found"]
        assert "TCP port 4001" in found["reachability"]["advice"]
        assert found["clock"]["level"] == "ok"
        assert done.returncode == 0
