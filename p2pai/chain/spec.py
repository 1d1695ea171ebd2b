"""A network's chain spec: its name, its parameters, and what it starts from.

A spec is a TOML file; devnet's ships with the package (presets/). Its hash is the chain id: part of every
topic name, of every signature, and the Merkle root of the genesis block, so two networks never mix. Changes
of rules at announced heights are no part of it: who has one, and who has not, are on one chain up to there.

Bootstrap tickets and allocations name the number of a published account, whose keys anybody can derive
(`dev_account_seed`); allocations may also name a key hash.

Source: PROTOCOL section 1.
"""

import tomllib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Final

from p2pai.chain import difficulty, dkg
from p2pai.chain.dkg import Deal
from p2pai.chain.layers import Activation, Dense, Function, Layer
from p2pai.chain.params import ATOMS_PER_COIN, MONEY_MAX, UPGRADABLE, Params, Upgrade, check_params, quorum
from p2pai.chain.state import Ticket
from p2pai.chain.task import Dataset, Group, Reward, TaskDefinition, check
from p2pai.chain.training import (
    ConstantRate,
    Distribution,
    Fan,
    Holdout,
    Initialiser,
    Loss,
    Numerics,
    Sgd,
    Tau,
)
from p2pai.chain.transaction import ROLES
from p2pai.primitives import bls, cbor, ecdsa, record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Amount, BlobId, Hash32, KeyHash, PeerId
from p2pai.primitives.keys import Keys, derive_keys
from p2pai.vrf import ecvrf, selection

DEV_ACCOUNTS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Allocation:
    """Coins that exist from the start."""

    key_hash: KeyHash
    value: Amount


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A ticket that exists from the start; `in_task` puts it into the first task group."""

    ticket: Ticket
    in_task: bool


@dataclass(frozen=True)  # without slots, for its id
class ChainSpec:
    """A network, complete."""

    name: str
    prefix: str
    """Of addresses."""
    params: Params
    genesis_time: int
    dev_accounts: int
    """Published accounts; 0 outside development."""
    allocations: tuple[Allocation, ...]
    tickets: tuple[Bootstrap, ...]
    tasks: tuple[TaskDefinition, ...]
    """Predefined tasks; the first has the bootstrap tickets as its group."""
    task_data: tuple[str, ...]
    """Where the data of each predefined task lies, e.g. "package:digits.npz"."""
    deals: tuple[Deal, ...]
    """Of the first group's supervisors to each other, in the order of their tickets: their common key."""
    bootstrap: tuple[str, ...]
    """Multiaddrs of public bootstrap peers; they do not change what the chain is."""
    upgrades: tuple[Upgrade, ...] = ()
    """Announced changes of rules, the earliest first; who knows of one is on the same chain up to it."""

    @cached_property
    def id(self) -> Hash32:
        """The chain id."""
        value = record.to_value(replace(self, bootstrap=()))
        assert isinstance(value, list)
        return tagged_hash("p2pai/spec", cbor.encode(value[:-1]))  # without the upgrades

    @property
    def short_id(self) -> str:
        """Eight hex digits of the chain id, as in topic names."""
        return self.id.hex()[:8]

    def params_at(self, height: int) -> Params:
        """Return the parameters under which the block at a height is made and checked."""
        due = (upgrade.params for upgrade in reversed(self.upgrades) if upgrade.height <= height)
        return next(due, self.params)


def dev_account_seed(chain_name: str, account: int) -> bytes:
    """Return the published seed of a development account."""
    return tagged_hash("p2pai/dev-account", chain_name.encode(), account.to_bytes(4, "big"))


def parse(text: str) -> ChainSpec:
    """Read a chain spec.

    Raises:
      InvalidInput: not TOML, or a key is missing, unknown or of the wrong kind; one sentence.
    """
    try:
        spec = _spec(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"the chain spec is not TOML: {error}") from error
    except KeyError as error:
        raise InvalidInput(f"the chain spec lacks the key {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidInput(f"the chain spec has a value of the wrong kind: {error}") from error
    check_spec(spec)
    return spec


def genesis_context(name: str) -> Hash32:
    """Return what the deals of a chain's first supervisors are made for."""
    return tagged_hash("p2pai/genesis-keying", name.encode())


def genesis_deal_context(context: Hash32, index: int) -> Hash32:
    """Return what the deal of one of them is made for, counted from 1."""
    return tagged_hash("p2pai/dealer", context, index.to_bytes(4, "little"))


def _spec(table: dict[str, Any]) -> ChainSpec:
    name = str(table["name"])
    dev_accounts = int(table.get("dev_accounts", 0))
    if not 0 <= dev_accounts <= DEV_ACCOUNTS_MAX:
        raise InvalidInput(f"a chain has 0 to {DEV_ACCOUNTS_MAX} development accounts")
    accounts = [derive_keys(dev_account_seed(name, i)) for i in range(dev_accounts)]
    genesis = table["genesis"]
    tasks = genesis.get("task", [])
    rows = genesis.get("ticket", [])
    return ChainSpec(
        name=name,
        prefix=str(table["prefix"]),
        params=_params(table["params"]),
        genesis_time=int(genesis["time"]),
        dev_accounts=dev_accounts,
        allocations=tuple(_allocation(a, accounts) for a in genesis.get("allocation", [])),
        tickets=tuple(t for row in rows for t in _tickets(row, accounts)),
        tasks=tuple(_task(t) for t in tasks),
        task_data=tuple(str(t["data"]) for t in tasks),
        deals=_deals(name, [_account(row, accounts) for row in rows if _supervises(row)]),
        bootstrap=tuple(str(a) for a in table.get("bootstrap", [])),
        upgrades=_upgrades(table),
    )


def _params(table: dict[str, Any]) -> Params:
    known = [f.name for f in fields(Params)]
    for key, value in table.items():
        if key not in known:
            raise InvalidInput(f"the chain spec has an unknown parameter {key!r}")
        if type(value) is not int or not 0 <= value <= MONEY_MAX:
            raise InvalidInput(f"the chain spec's parameter {key!r} must be an integer from 0 to 2^62")
    return Params(**table)


def _upgrades(table: dict[str, Any]) -> tuple[Upgrade, ...]:
    """Read `[[upgrade]]`: a height, and under `params` what is another from there on."""
    known, made = dict(table["params"]), list[Upgrade]()
    for row in table.get("upgrade", []):
        for name in row["params"]:
            if name not in UPGRADABLE:
                raise InvalidInput(f"an upgrade of the chain spec can't change the parameter {name!r}")
        known |= row["params"]
        made.append(Upgrade(int(row["height"]), _params(known)))
    return tuple(made)


def check_spec(spec: ChainSpec) -> None:
    """Refuse what would stop the chain later.

    Raises:
      InvalidInput: some value is out of range.
    """
    for params in (spec.params, *(upgrade.params for upgrade in spec.upgrades)):
        check_params(params)
    heights = [0, *(upgrade.height for upgrade in spec.upgrades)]
    if heights != sorted(dict.fromkeys(heights)):
        raise InvalidInput("the chain spec's upgrades are not at rising heights above 0")
    if not 0 <= spec.genesis_time < 1 << 32:
        raise InvalidInput("the chain spec's genesis time does not fit 32 bits")
    if any(not 0 < a.value <= MONEY_MAX for a in spec.allocations):
        raise InvalidInput("an allocation of the chain spec is out of range")
    for bits in (spec.params.genesis_bits, spec.params.limit_bits):
        difficulty.decode_bits(bits)
    _check_traits(spec)


def _check_traits(spec: ChainSpec) -> None:
    for task in spec.tasks:
        check(task)
    for traits in (*(b.ticket.preferences for b in spec.tickets), *(t.preferences for t in spec.tasks)):
        selection.check_traits(traits)
        if len(traits) != spec.params.trait_count:
            raise InvalidInput(
                f"the chain spec has preferences of other than {spec.params.trait_count} traits"
            )


def _account(row: dict[str, Any], accounts: list[Keys]) -> Keys:
    number = row["account"]
    if type(number) is not int or not 0 <= number < len(accounts):
        raise InvalidInput(f"the chain spec has no account {number!r}")
    return accounts[number]


def _bytes(digits: str, size: int) -> bytes:
    data = bytes.fromhex(digits)
    if len(data) != size:
        raise InvalidInput(f"the chain spec has {digits!r} where {size} bytes belong")
    return data


def _allocation(row: dict[str, Any], accounts: list[Keys]) -> Allocation:
    key_hash = (
        ecdsa.key_hash(ecdsa.public_key(_account(row, accounts).spending))
        if "account" in row
        else KeyHash(_bytes(row["key_hash"], 20))
    )
    return Allocation(key_hash, Amount(int(row["coins"]) * ATOMS_PER_COIN))


def _tickets(row: dict[str, Any], accounts: list[Keys]) -> list[Bootstrap]:
    keys = _account(row, accounts)
    owner = ecdsa.public_key(keys.spending)
    for role in row["roles"]:
        if role not in ROLES:
            raise InvalidInput(f"the chain spec names an unknown role {role!r}")
    return [
        Bootstrap(
            Ticket(
                role=role,
                owner=owner,
                key_hash=ecdsa.key_hash(owner),
                preferences=tuple(int(p) for p in row["preferences"]),
                vrf_key=ecvrf.public_key(keys.vrf),
                bls_key=bls.public_key(keys.bls),
                peer=PeerId(""),
                height=0,
                expires=0,
            ),
            in_task=bool(row.get("in_task", False)),
        )
        for role in row["roles"]
    ]


def _supervises(row: dict[str, Any]) -> bool:
    return bool(row.get("in_task", False)) and "supervisor" in row["roles"]


def _deals(name: str, supervisors: list[Keys]) -> tuple[Deal, ...]:
    """Deal as published accounts would; what they keep secret is public anyway."""
    context, threshold = genesis_context(name), quorum(len(supervisors))
    receivers = [ecvrf.public_key(keys.vrf) for keys in supervisors]
    return tuple(
        dkg.make_deal(keys.bls, genesis_deal_context(context, i), receivers, threshold)
        for i, keys in enumerate(supervisors, 1)
    )


def _task(row: dict[str, Any]) -> TaskDefinition:
    """Read a predefined task: a classifier of dense layers, trained by SGD without end."""
    data, group = row["dataset"], row["group"]
    return TaskDefinition(
        name=str(row["name"]),
        numerics=Numerics.EXACT,
        mantissa_bits=int(row["mantissa_bits"]),
        input_shape=(int(data["features"]),),
        layers=dense_layers([int(n) for n in row["hidden"]], int(data["classes"])),
        initialiser=Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 1_000_000),
        loss=Loss.SOFTMAX_CROSS_ENTROPY,
        optimiser=Sgd(int(row["learning_rate_ppm"])),
        schedule=ConstantRate(),
        tau=Tau(int(row["tau_bits"]), 0),
        epochs=0,
        stopping=None,
        validation=Holdout(int(row["validation_percent"])),
        metrics=("accuracy", "loss"),
        dataset=Dataset(
            format=str(data["format"]),
            samples=int(data["samples"]),
            features=int(data["features"]),
            classes=int(data["classes"]),
            targets=0,
            batch_size=int(data["batch_size"]),
            training_percent=int(data["training_percent"]),
            fragments=tuple(BlobId(Hash32(_bytes(f, 32))) for f in data["fragments"]),
        ),
        group=Group(int(group["miners"]), int(group["supervisors"]), int(group["evaluators"])),
        reward=Reward(100, 0, 0),
        preferences=tuple(int(p) for p in row["preferences"]),
        client=PeerId(""),
        expected_blocks=1,
    )


def dense_layers(hidden: list[int], outputs: int) -> tuple[Layer, ...]:
    """Return dense layers with relu between them."""
    relu = Activation(Function.RELU)
    inner = [layer for units in hidden for layer in (Dense(units), relu)]
    return (*inner, Dense(outputs))
