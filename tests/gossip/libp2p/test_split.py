"""A network that is cut in two is one again when the cut is mended, and nobody is restarted.

Four nodes in network namespaces, 25 ms and 1 % loss apart. Both halves learn of the cut by themselves, since
nothing tells TCP, and dial what they remember until an answer comes.
"""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from testnet.devnet import netlab
from testnet.devnet.netlab import Link, NetLab

HERE = Path(__file__).parent
NOTICED_S = 60.0
HEALED_S = 100.0
"""The longest pause between two dials is 60 s, and a dial may take 10."""


class Watched:
    """A node whose lines are read as they come."""

    def __init__(self, lab: NetLab, number: int, directory: Path, *bootstrap: str) -> None:
        key, cache = directory / f"{number}.key", directory / f"{number}.txt"
        listen = f"/ip4/{lab.own_address(number)}/tcp/4001"
        command = (sys.executable, HERE / "lone_node.py", key, listen, cache, *bootstrap)
        env = {**os.environ, "PYTHONPATH": f"{HERE.parents[2]}:{HERE}"}
        self.process = lab.start(number, [str(word) for word in command], stdout=subprocess.PIPE, env=env)
        self.words: dict[str, list[str]] = {"remotes": []}
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                word, *rest = line.decode().split()
                self.words[word] = rest


def wait(condition, limit_s):
    """Wait until something holds; return for how long."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + limit_s
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.skipif(netlab.missing() is not None, reason=netlab.missing() or "")
def test_halves_find_together_when_the_cut_is_mended(tmp_path: Path) -> None:
    with NetLab(4, Link(delay_ms=25, loss=0.01)) as lab:
        first = Watched(lab, 1, tmp_path)
        wait(lambda: "serves" in first.words, 60)
        address = first.words["serves"][1]
        nodes = [first, *(Watched(lab, number, tmp_path, address) for number in (2, 3, 4))]
        wait(lambda: all(len(node.words["remotes"]) == 3 for node in nodes), 60)

        lab.cut([1, 2], [3, 4])
        noticed = wait(lambda: all(len(node.words["remotes"]) == 1 for node in nodes), NOTICED_S)
        # Long enough for the pauses to have grown.
        time.sleep(20)
        lab.heal()
        healed = wait(lambda: all(len(node.words["remotes"]) == 3 for node in nodes), HEALED_S)
        print(f"noticed after {noticed:.0f} s, healed after {healed:.0f} s")
    for node in nodes:
        node.reader.join(5)
