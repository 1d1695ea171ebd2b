"""Nothing secret leaves a node: no key of its owner, no test data before the training is over.

I19. Looked at is all that goes to others (gossip, questions, answers, blobs that may be fetched) and every
sentence that a node would log. Keys are those of the account, and the node's shares of the keys of the
committees that it sits in. A client's test data are secret until on some tip that it had, its task was being
evaluated, or the fragment was among those revealed for the training: nobody else gets such a fragment, or a
shard of it, and no thirty bytes of it stand in what the client says. What others have anyway is no secret.

Source: RELIABILITY (4), I19; PoUW §4.2.2.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pai import effects, events
from p2pai.chain import schedule, shards
from p2pai.chain.state import Stage, Task
from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId, TaskId
from p2pai.roles.dealer import own_share
from testnet.simulator.host import Blobs, Host
from testnet.simulator.invariants.step import Broken

WINDOW_BYTES: Final = 32
"""Length of the pieces of test data that are looked for."""

VARIETY_MIN: Final = 8
"""Different bytes in such a piece: zeros say nothing."""


@dataclass
class _Hidden:
    """A client's task whose test data are secret still."""

    client: PeerId
    secret: dict[BlobId, BlobId]
    """Fragments and their shards -> the fragment."""
    pieces: dict[BlobId, bytes]
    """A piece of each fragment."""


@dataclass
class Secrets:
    """The secrets of all honest nodes."""

    cores: Mapping[PeerId, NodeCore]
    hosts: Mapping[PeerId, Host]
    keys: dict[PeerId, dict[bytes, None]] = field(default_factory=dict)
    """Of each node, those that must not leave it."""
    _committees: dict[tuple[PeerId, Hash32], None] = field(default_factory=dict)
    """Whose shares are known."""
    _hidden: dict[TaskId, _Hidden] = field(default_factory=dict)
    _owner: dict[BlobId, TaskId] = field(default_factory=dict)
    """Of blobs that are secret."""
    _tips: dict[PeerId, Hash32] = field(default_factory=dict)

    def look(
        self, name: PeerId, core: NodeCore, event: events.Event, reaction: Sequence[effects.Effect]
    ) -> None:
        """I19: look at what a node gives away."""
        tip = core.state.tip
        if self._tips.get(name) != tip:
            self._tips[name] = tip
            self._learn(name, core)
        if isinstance(event, events.Fetched) and event.chunks is not None and event.blob in self._owner:
            self._check_holder(name, event.blob)
        for effect in reaction:
            if isinstance(effect, effects.Share):
                self._check_shared(name, effect.blob)
            else:
                for data in given_away(effect):
                    self._check_data(name, data)

    # --- what is secret

    def _learn(self, name: PeerId, core: NodeCore) -> None:
        keys = self.keys.setdefault(name, {})
        secret = core.identity.secret
        if secret is None:
            return
        if not keys:
            keys |= dict.fromkeys((secret.spending, secret.vrf, secret.bls))
        for task_id, task in core.state.tasks.items():
            if not task.stage.is_over:
                self._learn_share(name, core, task)
            if task.client == core.identity.key_hash and not task.is_predefined:
                self._follow(name, task_id, task)

    def _learn_share(self, name: PeerId, core: NodeCore, task: Task) -> None:
        committee, tickets = task.committee, core.state.tickets
        if committee is None or (name, committee.context) in self._committees:
            return
        self._committees[name, committee.context] = None
        for member in committee.members:
            if tickets[member].owner == core.identity.public:
                share = own_share(committee, core.identity.keys, member)
                if share is not None:
                    self.keys[name][share] = None

    def _follow(self, name: PeerId, task_id: TaskId, task: Task) -> None:
        """Follow a client's task on the client's own tips: what was revealed once is secret no more."""
        if task_id not in self._hidden:
            self._hide(name, task_id, task)
        hidden = self._hidden[task_id]
        if not hidden.secret or not (task.stage.is_underway or task.stage is Stage.EVALUATING):
            return
        plan = schedule.make_schedule(task.definition, task.definition_block)
        shown = dict.fromkeys(plan.training if task.stage.is_underway else (*plan.training, *plan.test))
        hidden.secret = {blob: of for blob, of in hidden.secret.items() if of not in shown}
        hidden.pieces = {of: piece for of, piece in hidden.pieces.items() if of not in shown}
        self._owner = {
            blob: task for blob, task in self._owner.items() if task != task_id or blob in hidden.secret
        }

    def _hide(self, name: PeerId, task_id: TaskId, task: Task) -> None:
        blobs = self.hosts[name].blobs if name in self.hosts else Blobs()
        own = [f for f in task.definition.dataset.fragments if not self._is_public(name, f)]
        secret = {fragment: fragment for fragment in own}
        secret |= {shard: of for shard, of in _shards(blobs, task).items() if of in secret}
        pieces = {fragment: _piece(blobs, fragment) for fragment in own}
        found = {fragment: piece for fragment, piece in pieces.items() if piece}
        self._hidden[task_id] = _Hidden(name, secret, found)
        self._owner |= dict.fromkeys(secret, task_id)

    def _is_public(self, client: PeerId, fragment: BlobId) -> bool:
        """Return whether somebody else has a fragment, or every node may: data of tasks of the chain spec."""
        shipped = self.cores[client].spec.tasks
        if any(fragment in task.dataset.fragments for task in shipped):
            return True
        return any(fragment in host.blobs for name, host in self.hosts.items() if name != client)

    # --- what must not be

    def _check_data(self, name: PeerId, data: bytes) -> None:
        for key in self.keys.get(name, ()):
            if key in data:
                raise Broken(f"I19: {name} gives away a secret key", name)
        for hidden in self._hidden.values():
            if hidden.client == name and any(piece in data for piece in hidden.pieces.values()):
                raise Broken(f"I19: {name} says test data before the training is over", name)

    def _check_holder(self, name: PeerId, blob: BlobId) -> None:
        if self._hidden[self._owner[blob]].client != name:
            raise Broken(f"I19: {name} got test data before the training was over", name)

    def _check_shared(self, name: PeerId, blob: BlobId) -> None:
        if blob in self._owner and self._hidden[self._owner[blob]].client == name:
            raise Broken(f"I19: {name} shares test data before the training is over", name)


def given_away(effect: effects.Effect) -> Iterator[bytes]:
    """Yield the bytes of an effect that others may get, or that somebody may read in a log."""
    match effect:
        case effects.Publish(_, data):
            yield data
        case effects.Ask(_, _, body) | effects.Answer(_, body):
            yield body
        case effects.PutBlob(chunks, shared=True):
            yield from chunks
        case effects.Judge(_, reason) | effects.Halt(reason) | effects.Hangup(_, _, reason):
            if reason:
                yield from _written(reason)


def _written(text: str) -> Iterator[bytes]:
    """Yield a text's bytes, and what its hexadecimal words stand for."""
    yield text.encode()
    for word in text.replace("'", " ").split():
        try:
            yield bytes.fromhex(word)
        except ValueError:
            continue


def _shards(blobs: Blobs, task: Task) -> dict[BlobId, BlobId]:
    """Return the shards of a task's fragments, where there are any and the client has their list."""
    listed = task.definition.dataset.shards
    if listed is None:
        return {}
    try:
        rows = shards.read(task.definition, b"".join(blobs.get(listed)))
    except (InvalidInput, Unavailable):
        return {}
    fragments = task.definition.dataset.fragments
    return {shard: fragment for fragment, row in zip(fragments, rows, strict=True) for shard in row}


def _piece(blobs: Blobs, fragment: BlobId) -> bytes:
    """Return a piece of a fragment that says something; empty when there is none."""
    try:
        data = b"".join(blobs.get(fragment))
    except Unavailable:
        return b""
    for start in range(len(data) // 2, len(data) - WINDOW_BYTES, WINDOW_BYTES):
        piece = data[start : start + WINDOW_BYTES]
        if len(dict.fromkeys(piece)) >= VARIETY_MIN:
            return piece
    return b""
