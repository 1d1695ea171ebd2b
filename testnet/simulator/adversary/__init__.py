"""Dishonest nodes, one module per idea, one class per kind.

    testnet.scenario.adversaries: who, from when, how much   ->   KINDS[kind](plan, core, setting)

What comes out has `handle` as the core has it, so the world can't tell the two apart.
"""

from typing import Final

from testnet.simulator.adversary import clients, evaluators, miners, supervisors, trainers, verifiers
from testnet.simulator.adversary.base import Adversary, Setting
from testnet.simulator.adversary.flood import Flood
from testnet.simulator.adversary.long_range import LongRange
from testnet.simulator.adversary.outdated import Outdated
from testnet.simulator.adversary.selfish import Selfish
from testnet.simulator.adversary.serving import BadAnswers
from testnet.simulator.adversary.sybil import Sybil

KINDS: Final[dict[str, type[Adversary]]] = {
    "withholding-leader": supervisors.Withholding,
    "equivocating-leader": supervisors.Equivocating,
    "reordering-leader": supervisors.Reordering,
    "censoring-leader": supervisors.Censoring,
    "fake-work": miners.FakeWork,
    "stolen-map": miners.StolenMap,
    "stale-work": miners.StaleWork,
    "lazy-replay": miners.LazyReplay,
    "poisoned-gradients": miners.PoisonedGradients,
    "replayed-nonce": miners.ReplayedNonce,
    "two-messages": miners.TwoMessages,
    "approves-all": verifiers.ApprovesAll,
    "refuses-all": verifiers.RefusesAll,
    "silent-verifier": verifiers.SilentVerifier,
    "careless-evaluator": evaluators.Careless,
    "flattering-evaluator": evaluators.Flattering,
    "silent-evaluator": evaluators.SilentEvaluator,
    "withholding-client": clients.Withholding,
    "lying-client": clients.Lying,
    "wrong-hash": clients.WrongHash,
    "unfunded-client": clients.Unfunded,
    "vanishing-client": clients.Vanishing,
    "lying-trainer": trainers.LyingTrainer,
    "outdated": Outdated,
    "selfish": Selfish,
    "long-range": LongRange,
    "bad-answers": BadAnswers,
    "flood": Flood,
    "sybil": Sybil,
}
"""By the word that a scenario file has for `kind`."""

__all__ = ["KINDS", "Adversary", "Setting"]
