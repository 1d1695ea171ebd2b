"""A scripted core and a network of one, for tests of what stands between them."""

import trio

from p2pai import events
from p2pai.gossip.reachability import Answers, DialBack
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId
from p2pai.shell.store import read_store


def journal_of(directory):
    """Return the journal of a data directory; a node may be running on it."""
    started, archive = read_store(directory)
    archive.close()
    return started.journal


REMOTE = PeerId("12D3KooWRemote")
OTHER = PeerId("12D3KooWother")


class ScriptedCore:
    """Answers each kind of event with what a test says; keeps all it saw."""

    def __init__(self, **script):
        self.script = script
        self.seen = []

    def handle(self, event, now_ms):
        assert now_ms > 1_600_000_000_000
        self.seen.append(event)
        react = self.script.get(type(event).__name__, [])
        return list(react(event) if callable(react) else react)

    def query(self, method, params):
        if method == "echo":
            return params
        if method == "bug":
            raise AssertionError("state is broken")
        if method == "crash":
            raise KeyError("a slip")
        if method == "later":
            raise Unavailable("not here yet")
        raise InvalidInput(f"there is no method {method}")

    def of(self, kind):
        return [event for event in self.seen if isinstance(event, kind)]

    @property
    def started(self):
        return isinstance(self.seen[0], events.Started)


class LoneNetwork:
    """Keeps what it was told; answers questions and fetches as a test says."""

    peer_id = PeerId("12D3KooWself")
    addresses = ("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWself",)

    def __init__(self):
        self.told = []
        self.answers = {}
        self.blobs = {}
        self.fetched = []
        self.provided = {}
        self.is_running = False
        self.gate = None

    def remotes(self):
        return (REMOTE, OTHER)

    def company(self):
        return {"inbound": 2, "outbound": 1, "known": 7, "alone": False}

    def outlook(self):
        return Answers({REMOTE: DialBack("/ip4/203.0.113.7/tcp/4001"), OTHER: DialBack(None)}).sum_up()

    async def run(self, task_status):
        if self.gate is not None:
            await self.gate.wait()
        self.is_running = True
        task_status.started()
        await trio.sleep_forever()

    async def _tell(self, *what):
        assert self.is_running
        self.told.append(what)

    async def join(self, topic):
        await self._tell("join", topic)

    async def leave(self, topic):
        await self._tell("leave", topic)

    async def take_part(self, task, role):
        await self._tell("take_part", task, role)

    async def end_part(self, task, role):
        await self._tell("end_part", task, role)

    async def publish(self, topic, data):
        await self._tell("publish", topic, data)

    async def hangup(self, remote, seconds):
        await self._tell("hangup", remote, seconds)

    async def ask(self, remote, body, timeout_s):
        assert self.is_running
        if body not in self.answers:
            raise Unavailable("no answer")
        return self.answers[body]

    def provide(self, blob):
        self.provided[blob] = None

    def withdraw(self, blob):
        self.provided.pop(blob, None)

    async def fetch(self, blob, providers, shelf):
        assert self.is_running
        self.fetched.append((blob, providers))
        await trio.sleep(0.05)
        for provider in providers:
            if blob in self.blobs.get(provider, {}):
                chunks = self.blobs[provider][blob]
                leaves = tuple(merkle.leaf_hash(chunk) for chunk in chunks)
                here = await shelf.begin(leaves)
                for leaf, chunk in zip(leaves, chunks, strict=True):
                    if leaf not in here:
                        shelf.put(leaf, chunk)
                return leaves
        raise Unavailable("nobody has it")
