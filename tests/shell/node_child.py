"""A node as a process, all real but its core, which a test scripts by name.

Usage: node_child.py SCRIPT SPEC DATA_DIR [BOOTSTRAP]
"""

import sys
import time
from pathlib import Path

import trio
from parts import ScriptedCore

from p2pai import effects, jobs
from p2pai.primitives import blob
from p2pai.primitives.errors import P2paiError
from p2pai.primitives.ids import Hash32
from p2pai.primitives.keys import PublishedKeys
from p2pai.shell import node, node_process
from p2pai.shell.config import Config

KEYS = PublishedKeys(b"\x09" * 32)
SLEEP = effects.Train(Hash32(bytes(32)), jobs.Prepare("/dev/stdin", "npz", False, 30, 10))


def _hang(event):
    print("hanging", flush=True)
    while True:
        time.sleep(0.01)


def _bug(event):
    raise AssertionError("two tips")


CHUNKS = (b"a blob", b" in two chunks")


def _append(event):
    return [effects.Persist(0, event.params)]


SCRIPTS = {
    "quiet": {},
    "training": {"Started": [SLEEP]},
    "hanging": {"Submitted": _hang},
    "buggy": {"Submitted": _bug},
    "writing": {"Submitted": _append},
    "giving": {"Started": [effects.PutBlob(CHUNKS, shared=True)]},
    "taking": {"Connected": lambda e: [effects.Fetch(blob.blob_id(CHUNKS), (e.remote,))]},
    "answering": {"Asked": lambda e: [effects.Answer(e.request, b"heard " + e.body)]},
    "asking": {"Connected": lambda e: [effects.Ask(1, e.remote, b"hello")]},
}


class Core(ScriptedCore):
    """Tells what it saw to whoever asks."""

    def query(self, method, params):
        if method == "seen":
            return [repr(event) for event in self.seen]
        return super().query(method, params)


def main(script, spec, data_dir, bootstrap=()):
    node.make_core = lambda config, keys, peer_id, archive, source: Core(**SCRIPTS[script])
    config = Config(Path(data_dir), spec, bootstrap=bootstrap)
    try:
        trio.run(node_process.run_node, config, KEYS, lambda ready: print(ready.addresses[0], flush=True))
    except P2paiError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:4], bootstrap=tuple(sys.argv[4:]))
