"""Kinds of dishonest nodes that a scenario can ask for, as plain data.

Adding a kind is adding a dataclass here, and its doings in `testnet.simulator.adversary`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from testnet.scenario.ranges import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """What all kinds have in common."""

    nodes: tuple[str, ...]
    """Names of nodes or groups that are of this kind."""
    from_s: int = 0
    """Honest before."""


# --- leading supervisors


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader(Adversary):
    """A supervisor that is dishonest while it leads; honest otherwise."""

    views: int = 1
    """Of each term: it is so in views below this one, and leads honestly when its turn comes once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithholdingLeader(Leader):
    """Takes the messages and ballots of others, and says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivocatingLeader(Leader):
    """Signs two proposals for one place of a client's task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReorderingLeader(Leader):
    """Proposes an order of its own in place of what the ballots give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CensoringLeader(Leader):
    """Leaves the messages of a task's first miner out."""


# --- miners


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeWork(Adversary):
    """Makes its message maps up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StolenMap(Adversary):
    """Says what another miner said last as its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleWork(Adversary):
    """Trains once, then says the same again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyReplay(Adversary):
    """Leaves out the updates of its peers that it says it applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonedGradients(Adversary):
    """Turns each of its updates round, so that others' models get worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedNonce(Adversary):
    """Makes another block, on top of its own, with the nonces and messages of that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoMessages(Adversary):
    """Signs two messages for each iteration."""


# --- verifiers


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovesAll(Adversary):
    """Approves false blocks, too, whose miners tell it what a replay would have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusesAll(Adversary):
    """Says of honest blocks that they are false, and accuses them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentVerifier(Adversary):
    """Commits to its verdicts and never reveals one."""


# --- evaluators


@dataclass(frozen=True, slots=True, kw_only=True)
class CarelessEvaluator(Adversary):
    """Scores nothing, and gives every miner the same."""

    score_percent: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatteringEvaluator(Adversary):
    """Gives a task's first miner full marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentEvaluator(Adversary):
    """Commits to its conclusion and never reveals it."""


# --- clients


@dataclass(frozen=True, slots=True, kw_only=True)
class WithholdingClient(Adversary):
    """Keeps data back that its task needs."""

    data: Literal["training", "test"] = "test"
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LyingClient(Adversary):
    """Hands out other data than those that its task's definition describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongHash(Adversary):
    """Names fragments in its definition that nobody has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfundedClient(Adversary):
    """Stakes a fee that it does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VanishingClient(Adversary):
    """Is gone, with its data, once its task is in a stage."""

    stage: Literal["joining", "training", "evaluating"] = "training"
    """Which."""


# --- trainers


@dataclass(frozen=True, slots=True, kw_only=True)
class LyingTrainer(Adversary):
    """An honest node's trainer that lies to it."""

    lie: Literal["unreadable-map", "other-result", "false-replay"] = "unreadable-map"
    """A map that nobody can read, a result of another job, or that honest blocks are false."""


# --- the network and the chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated(Adversary):
    """Nodes that have not heard of a change of rules that all others make: honest, by the old rules."""

    height: Annotated[int, Range(1, 1_000_000)]
    """Of the first block by the new rules."""
    params: Mapping[str, int]
    """What is another from that block on (see chain/params.py, UPGRADABLE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selfish(Adversary):
    """Miners that keep their blocks back and show them when that makes others' work useless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongRange(Adversary):
    """Holders of all old keys show a secret chain from long ago, once there is a checkpoint."""

    fork: Literal["checkpoint", "genesis"] = "checkpoint"
    """What it forks off below, or at."""
    weight_percent: Annotated[int, Range(1, 10_000)] = 200
    """Of the weight of the chain that all are on."""
    spacing_s: Annotated[int, Range(1, 60)] = 3
    """Between its blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood(Adversary):
    """Remotes that say or ask far more than anybody has to say."""

    what: Literal["junk", "forged", "giant", "repeated", "topics", "valid", "questions"] = "junk"
    per_s: Annotated[int, Range(10, 100_000)] = 800
    """Messages; a full task group says 80 a second (RELIABILITY (1), L4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sybil(Adversary):
    """Nodes that push themselves into the others' meshes and pass little or nothing on."""

    drops: Literal["everything", "blocks"] = "everything"
    """What they do not pass on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadAnswers(Adversary):
    """Remotes that answer what is asked about the chain as no honest one does."""

    vice: Literal[
        "silent",
        "slow",
        "garbage",
        "giant",
        "floating",
        "bodiless",
        "substituting",
        "spoiling",
        "endless",
    ] = "silent"


ADVERSARIES: Final[dict[str, type[Adversary]]] = {
    "withholding-leader": WithholdingLeader,
    "equivocating-leader": EquivocatingLeader,
    "reordering-leader": ReorderingLeader,
    "censoring-leader": CensoringLeader,
    "fake-work": FakeWork,
    "stolen-map": StolenMap,
    "stale-work": StaleWork,
    "lazy-replay": LazyReplay,
    "poisoned-gradients": PoisonedGradients,
    "replayed-nonce": ReplayedNonce,
    "two-messages": TwoMessages,
    "approves-all": ApprovesAll,
    "refuses-all": RefusesAll,
    "silent-verifier": SilentVerifier,
    "careless-evaluator": CarelessEvaluator,
    "flattering-evaluator": FlatteringEvaluator,
    "silent-evaluator": SilentEvaluator,
    "withholding-client": WithholdingClient,
    "lying-client": LyingClient,
    "wrong-hash": WrongHash,
    "unfunded-client": UnfundedClient,
    "vanishing-client": VanishingClient,
    "lying-trainer": LyingTrainer,
    "outdated": Outdated,
    "selfish": Selfish,
    "long-range": LongRange,
    "bad-answers": BadAnswers,
    "flood": Flood,
    "sybil": Sybil,
}
"""By the word that a file has for `kind`."""


def kind_of(plan: Adversary) -> str:
    """Return the word that a file has for the kind of a plan."""
    return next(kind for kind, cls in ADVERSARIES.items() if cls is type(plan))
