"""A watcher of a simulated world that tells, in the end, what its history gave: an `Outcome`.

It looks at every event and does nearly nothing for most of them: it counts bytes, reads what a node itself
publishes of training and of verdicts, and looks into a block when the first node has it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final, Protocol

from p2pai import effects, events
from p2pai.chain.genesis import genesis_state
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.chain.transaction import Transaction, VerifyReveal
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip.envelope import Envelope
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.topics import Topic, parse
from p2pai.node.core import NodeCore
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId, KeyHash, PeerId, TaskId
from p2pai.roles.miner import Miner
from p2pai.roles.mining import Tally
from testnet.outcome import Broken, Expectation, Fired, Head, Mining, Node, Outcome, Planned
from testnet.simulator.accounts import coins
from testnet.simulator.chains import Chains
from testnet.simulator.courses import Courses
from testnet.simulator.talk import Talk
from testnet.simulator.world import START_MS
from testnet.thinning import Thinned

FAULT_TIMES_MAX: Final = 200
LOOK_MS: Final = 50
"""Between looks at how often each fault has happened; their times are as exact as that."""

PARAMS_SHOWN: Final = (
    "spacing_s",
    "commitment_distance",
    "slot_ms",
    "iteration_ms_min",
    "verification_window_blocks",
    "verifiers_per_block_max",
    "checkpoint_blocks",
    "half_life_s",
)
"""Of the chain: those that matter for reading an outcome."""


class _Shelf(Protocol):
    def get(self, name: BlobId, /) -> Sequence[bytes]: ...


class _Host(Protocol):
    @property
    def up_ms(self) -> int: ...

    @property
    def blobs(self) -> _Shelf: ...


class Watched(Protocol):
    """What is watched: a simulated world, or a real network's recordings that are lived through again."""

    @property
    def now_ms(self) -> int: ...

    @property
    def fired(self) -> Mapping[str, int]: ...

    @property
    def halted(self) -> Mapping[PeerId, str]: ...

    @property
    def hosts(self) -> Mapping[PeerId, _Host]: ...

    @property
    def digest(self) -> str: ...


class Observer:
    """See the module; it watches from before the first node starts."""

    def __init__(
        self,
        world: Watched,
        spec: ChainSpec,
        cores: Mapping[PeerId, NodeCore],
        roles: Mapping[PeerId, tuple[str, ...]],
        dishonest: Collection[PeerId] = (),
        start_ms: int = START_MS,
    ) -> None:
        self._start_ms = start_ms
        self._world, self._spec, self._cores, self._roles = world, spec, cores, roles
        self._dishonest = dishonest
        self._genesis = genesis_state(spec)
        self._names: dict[KeyHash, str] = {}
        self._chains = Chains(self._genesis, self._names, self._start_ms)
        self._courses = Courses(self._chains)
        self._talk = Talk(self._start_ms)
        self._topics: dict[str, Topic] = {}
        self._starts: dict[PeerId, int] = {}
        self._tallies: dict[PeerId, list[Tally]] = {}
        self._fired: dict[str, Thinned[int]] = {}
        self._look_ms = self._start_ms
        self.steps = 0

    def __call__(self, name: PeerId, event: Event, reaction: Sequence[Effect]) -> None:
        """Look at one event of one node."""
        now_ms = self._world.now_ms
        self.steps += 1
        if now_ms >= self._look_ms:
            self._look(now_ms)
        kind = type(event)
        if kind is events.Received:
            self._hear(event, reaction)
        elif kind is not events.TimerFired and kind is not events.Persisted:
            self._take(name, event)
        for effect in reaction:
            if type(effect) is effects.Publish:
                self._publish(effect, now_ms)
            elif type(effect) is effects.StoreBlock:
                self._chains.store(name, effect, self._cores[name].ledger.tree, now_ms)
        self._chains.move(name, self._cores[name].ledger.tree.state.tip, now_ms)

    def _hear(self, event: Event, reaction: Sequence[Effect]) -> None:
        assert isinstance(event, events.Received)
        for effect in reaction:
            if type(effect) is effects.Judge:
                self._talk.receive(event, effect.verdict)
                return

    def _take(self, name: PeerId, event: Event) -> None:
        if isinstance(event, events.Started):
            self._start(name)
        elif isinstance(event, events.Asked):
            self._talk.carry("ask", len(event.body))
        elif isinstance(event, events.Answered) and event.body is not None:
            self._talk.carry("answer", len(event.body))
        elif isinstance(event, events.Fetched) and event.chunks is not None:
            chunks = self._world.hosts[name].blobs.get(event.blob)
            self._talk.carry("blob", sum(map(len, chunks)))

    def _start(self, name: PeerId) -> None:
        core = self._cores[name]
        self._starts[name] = self._starts.get(name, 0) + 1
        self._names[core.identity.key_hash] = name
        miner = core.roles.get(Miner.name)
        if isinstance(miner, Miner):
            self._tallies.setdefault(name, []).append(miner.tally)
        self._chains.begin(name, core.state.tip)

    def _look(self, now_ms: int) -> None:
        self._talk.pass_time(now_ms)
        self._look_ms = now_ms + LOOK_MS
        for kind, count in self._world.fired.items():
            times = self._fired.setdefault(kind, Thinned(FAULT_TIMES_MAX))
            for _ in range(count - times.count):
                times.add(now_ms - self._start_ms)

    def _publish(self, effect: effects.Publish, now_ms: int) -> None:
        self._talk.publish(effect)
        topic = self._topics.get(effect.topic) or self._topics.setdefault(effect.topic, parse(effect.topic))
        if topic.name == "it_res" and topic.scope is not None:
            self._read_iteration(topic.scope, effect, now_ms)
        elif topic.name == "tx":
            self._read_transaction(effect, now_ms)

    def _read_iteration(self, task: TaskId, effect: effects.Publish, now_ms: int) -> None:
        body = _body(effect)
        if body is not None:
            self._courses.say(task, body, now_ms - self._start_ms)

    def _read_transaction(self, effect: effects.Publish, now_ms: int) -> None:
        body = _body(effect)
        try:
            said = Transaction.decode(body).data if body is not None else None
        except InvalidInput:
            return
        if isinstance(said, VerifyReveal):
            self._chains.reveal(said, now_ms)

    # --- in the end

    def outcome(
        self,
        head: Head,
        *,
        planned: Sequence[Planned] = (),
        invariants: Sequence[str] = (),
        expectations: Sequence[Expectation] = (),
        broken: Broken | None = None,
        last_events: Sequence[str] = (),
        duplicates: Mapping[str, int] | None = None,
    ) -> Outcome:
        """Return what there is to tell by now; the caller says what was asked for and what was checked.

        `duplicates` are copies of gossip that came for nothing, by topic: no node's core saw them.
        """
        self._look(self._world.now_ms)
        best = self._best()
        found_ms = self._chains.found_ms(best.tip)
        flows = self._chains.flows(best.tip)
        slashed = {
            self._chains.name_of(owner): v for (owner, field), v in flows.items() if field == "slashed"
        }
        return Outcome(
            head=self._head(head),
            nodes=tuple(self._node(name, slashed.get(name, 0)) for name in self._roles),
            blocks=self._chains.blocks(best.tip),
            reorganisations=tuple(self._chains.reorganisations),
            tasks=self._courses.tasks(best.tasks, found_ms),
            coins=coins(self._genesis, best, flows, self._names, tuple(self._roles)),
            planned=tuple(planned),
            fired=tuple(
                Fired(kind, times.count, tuple(times.items))
                for kind, times in sorted(self._fired.items())
                if times.count
            ),
            traffic=self._talk.traffic(duplicates or {}),
            interval_ms=self._talk.interval_ms,
            invariants=tuple(invariants),
            expectations=tuple(expectations),
            broken=broken,
            last_events=tuple(last_events),
        )

    def _head(self, head: Head) -> Head:
        return replace(
            head,
            length_ms=self._world.now_ms - self._start_ms,
            steps=self.steps,
            digest=self._world.digest,
            params={name: getattr(self._spec.params, name) for name in PARAMS_SHOWN},
        )

    def _best(self) -> State:
        """Return the ledger of the honest node that fork choice puts first."""
        honest = [core for name, core in self._cores.items() if name not in self._dishonest]
        states = [core.state for core in honest or self._cores.values()]
        return max(states, key=lambda state: (state.weight, state.height, -int.from_bytes(state.tip, "big")))

    def _node(self, name: PeerId, slashed: int) -> Node:
        core, host = self._cores.get(name), self._world.hosts.get(name)
        halted = self._world.halted.get(name, "")
        state = core.state if core else self._genesis
        return Node(
            name=name,
            roles=self._roles[name],
            height=state.height,
            tip=state.tip.hex(),
            is_honest=name not in self._dishonest,
            is_up=host is not None and host.up_ms <= self._world.now_ms and not halted,
            starts=self._starts.get(name, 0),
            halted=halted,
            slashed_atoms=slashed,
            mining=_sum(self._tallies[name]) if name in self._tallies else None,
        )


def _body(effect: effects.Publish) -> bytes | None:
    """Return what an envelope holds, nothing of it checked; None of what is no envelope."""
    try:
        return record.decode(Envelope, effect.data, size_max=GOSSIP_SIZE_MAX).body
    except InvalidInput:
        return None


def _sum(tallies: Sequence[Tally]) -> Mining:
    counts = [asdict(tally) for tally in tallies]
    return Mining(**{what: sum(count[what] for count in counts) for what in counts[0]})
