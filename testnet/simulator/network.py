"""A world with the cores that run in it; and the devnet's accounts in one, with a client's task.

Account 0 is the client; 1 to 3 supervise, verify and evaluate; 4 to 6 mine; 7 and 8 are plain peers. The
chain is the devnet with a smaller model, an easier target and shorter spacing: a history takes seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from p2pai.chain.spec import ChainSpec, dense_layers, dev_account_seed
from p2pai.chain.state import Stage, Task
from p2pai.chain.task import FRAGMENT_COUNT_MIN, Reward, TaskDefinition
from p2pai.node.archive import Archive
from p2pai.node.core import NodeCore
from p2pai.node.orders import submission_id
from p2pai.primitives import cbor, ecdsa
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, PeerId, TaskId
from p2pai.primitives.keys import PublishedKeys
from p2pai.shell.specs import load_spec
from testnet.scenario import adversaries
from testnet.simulator.adversary import Adversary
from testnet.simulator.costumes import Costume, costumes
from testnet.simulator.host import Core, MakeWorker
from testnet.simulator.invariants import Honesty, Invariants, check_ledgers
from testnet.simulator.recordings import Recordings
from testnet.simulator.trainer import FastTrainer
from testnet.simulator.world import World

ROLES: Final[dict[int, tuple[str, ...]]] = {
    0: ("client",),
    1: ("supervisor", "verifier", "evaluator"),
    2: ("supervisor", "verifier", "evaluator"),
    3: ("supervisor", "verifier", "evaluator"),
    4: ("miner",),
    5: ("miner",),
    6: ("miner",),
    7: ("peer",),
    8: ("peer",),
}
"""What each account does."""

HIDDEN: Final = 16
FEE_ATOMS: Final = 10_000_000_000

TARGET_BITS: Final = 0x2000_B600
"""About 360 nonces a block: three miners, seven iterations a second, six nonces each, three seconds."""


def quick_spec() -> ChainSpec:
    """Return the devnet, quick to simulate."""
    spec = load_spec("devnet")
    params = replace(
        spec.params, spacing_s=3, genesis_bits=TARGET_BITS, half_life_s=60, verification_window_blocks=4
    )
    small = replace(spec.tasks[0], layers=dense_layers([HIDDEN], 10))
    return replace(spec, params=params, tasks=(small,))


NAMES: Final = {account: PeerId(f"n{account}") for account in ROLES}


def name_of(account: int) -> PeerId:
    """Return what a node of an account is called in the world."""
    return PeerId(f"n{account}")


def draft(*, epochs: int = 3, preferences: tuple[int, ...] = (1, 1)) -> TaskDefinition:
    """Return a task like the predefined one, for a client to submit: its data are cut by the client."""
    task = quick_spec().tasks[0]
    data = replace(
        task.dataset, samples=0, features=0, classes=0, fragments=(BlobId(ZERO_HASH),) * FRAGMENT_COUNT_MIN
    )
    reward = Reward(miners=70, supervisors=15, evaluators=15)
    return replace(
        task,
        name="digits",
        input_shape=(),
        epochs=epochs,
        dataset=data,
        reward=reward,
        preferences=preferences,
        expected_blocks=120,
    )


def order(
    definition: TaskDefinition | None = None,
    data: str = "package:digits.npz",
    **changes: Any,  # noqa: ANN401
) -> bytes:
    """Return the parameters of the client's `task.submit`."""
    wanted = (definition or draft(**changes)).encode().hex()
    return cbor.encode({"definition": wanted, "data": data, "fee": FEE_ATOMS})


@dataclass
class Network:
    """A world with the cores that run in it."""

    world: World
    spec: ChainSpec
    roles: Mapping[int, tuple[str, ...]] = field(default_factory=lambda: ROLES)
    """What each account does."""
    names: Mapping[int, PeerId] = field(default_factory=lambda: NAMES)
    """What each account's node is called."""
    cores: dict[PeerId, NodeCore] = field(default_factory=dict)
    recordings: Recordings | None = None
    """What the nodes are recorded to; the dishonest ones are not."""
    costumes: Mapping[PeerId, Costume] = field(default_factory=dict)
    """What makes a node's core a dishonest one."""
    outdated: Mapping[PeerId, None] = field(default_factory=dict)
    """Nodes that have not heard of the chain's upgrades."""
    invariants: Invariants = field(init=False)

    def __post_init__(self) -> None:
        """Let all invariants be checked at every step."""
        honesty = Honesty(has_fault=lambda: any(self.world.fired.values()))
        for name, costume in self.costumes.items():
            if costume.kind.is_misled:
                honesty.mislead("trainer", name)
            else:
                honesty.distrust(name)
        self.invariants = Invariants(self.spec, self.cores, honesty, self.world.hosts)
        self.world.watchers.append(self.invariants)

    def start(
        self,
        account: int,
        worker: MakeWorker | None = None,
    ) -> NodeCore:
        """Add an account's node; `worker` makes a trainer other than the honest one."""
        name = self.names[account]
        core = self._core(account)
        self.world.add(name, core, self._trainer(core, worker or self.world.make_worker))
        return self.cores[name]

    def start_again(self, account: int) -> None:
        """Start an account's node that stopped itself."""
        core = self._core(account)
        make = self._trainer(core, self.world.make_worker)
        self.world.start(self.names[account], core, make_worker=make)

    def restart(self, account: int, down_ms: int = 1_000) -> NodeCore:
        """Kill an account's node and start it again."""
        name = self.names[account]
        core = self._core(account)
        self.world.restart(name, core, down_ms, self._trainer(core, self.world.make_worker))
        return self.cores[name]

    def _core(self, account: int) -> Core:
        source, name = PublishedKeys(dev_account_seed(self.spec.name, account)), self.names[account]
        keys, roles, disk = source.account(0), self.roles[account], self.world.disk(name)
        spec = replace(self.spec, upgrades=()) if name in self.outdated else self.spec

        def make(archive: Archive) -> NodeCore:
            self.cores[name] = NodeCore(spec, keys, name, roles, archive)
            return self.cores[name]

        if name in self.costumes:
            return self.costumes[name](make(disk))
        if self.recordings is None:
            return make(disk)
        return self.recordings.core(name, self.spec, roles, ecdsa.public_key(keys.spending), make, disk)

    def _trainer(self, core: Core, make: MakeWorker) -> MakeWorker:
        """Return what makes a node's trainer, in a dishonest one's hands if it is one."""
        if isinstance(core, Adversary):
            return lambda blobs: core.employ(make(blobs))
        return make

    def core(self, account: int) -> NodeCore:
        """Return an account's node as it is now."""
        return self.cores[self.names[account]]

    def submit(self, params: bytes) -> TaskId:
        """Let the client submit a task; return its id once it is known."""
        order_id = submission_id(params)
        self.world.submit(self.names[0], "task.submit", params)

        def answer() -> Mapping[str, Any]:
            answered: Mapping[str, Any] = self.core(0).query("submission", {"id": order_id.hex()})
            return answered

        self.world.run(lambda: False, 1)
        assert self.world.run(lambda: answer()["state"] != "preparing", 60), "the data was not prepared"
        assert answer()["state"] == "posted", answer()["error"]
        return TaskId(Hash32(bytes.fromhex(answer()["task"])))

    def task(self, task_id: TaskId, account: int = 0) -> Task | None:
        """Return a task as a node's tip has it."""
        return self.core(account).state.tasks.get(task_id)

    def run_to(self, task_id: TaskId, stage: Stage, limit_s: int = 200) -> bool:
        """Go on until the client sees a task in a stage."""
        return self.world.run(lambda: self._stage(task_id) is stage, limit_s)

    def _stage(self, task_id: TaskId) -> Stage | None:
        task = self.task(task_id)
        return task.stage if task else None

    def settle(self, limit_s: int = 60, names: Sequence[PeerId] | None = None) -> bool:
        """Go on until all nodes are on one tip."""
        cores = [core for name, core in self.cores.items() if names is None or name in names]
        return self.world.run(lambda: len({core.state.tip for core in cores}) == 1, limit_s)

    def check(self) -> None:
        """Check the invariants of a history that has settled."""
        check_ledgers(self.spec, self.cores)


def network(
    seed: int,
    *,
    accounts: Sequence[int] = (7, 1, 2, 3, 4, 5, 6, 0),
    workers: Mapping[int, MakeWorker] | None = None,
    gossip_loss_percent: int = 0,
    spec: ChainSpec | None = None,
    roles: Mapping[int, tuple[str, ...]] | None = None,
    recordings: Recordings | None = None,
    trainer: MakeWorker = FastTrainer,
    dishonest: Mapping[adversaries.Adversary, Sequence[int]] | None = None,
) -> Network:
    """Start a network of accounts; those in `workers` have a trainer, those in `roles` work of their own.

    Those in `dishonest` are of that kind, whatever nodes the plan itself names. `trainer` is all others'.
    """
    world = World(seed, trainer, gossip_loss_percent=gossip_loss_percent)
    lying = workers or {}
    crews = ((plan, tuple(map(name_of, crew))) for plan, crew in (dishonest or {}).items())
    dressed = costumes(crews, world)
    made = Network(world, spec or quick_spec(), {**ROLES, **(roles or {})}, costumes=dressed)
    made.invariants.honesty.mislead("trainer", *map(name_of, lying))
    if recordings is not None:
        made.recordings = recordings
        recordings.watch(world)
    for account in accounts:
        made.start(account, lying.get(account))
    return made
