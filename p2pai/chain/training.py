"""How a task's model begins, learns, is measured and stops: everything of a definition but layers and data.

Numbers are integers: rates in millionths, fractions in 65536ths. Epochs count from 1, as in IT_RES.

Source: PoUW §3.4; PROTOCOL sections 5 and 7; docs/EXACT.md.
"""

from dataclasses import dataclass
from enum import Enum
from math import isqrt
from typing import Final

from p2pai.primitives.errors import InvalidTransaction

PPM: Final = 1_000_000
Q16: Final = 1 << 16
SGD_RATE_PPM_MAX: Final = 16 * PPM
"""Learning rate of SGD and momentum, so that rate * gradient is exact in float64."""

ADAPTIVE_RATE_PPM_MAX: Final = PPM
"""Learning rate of optimisers that divide by the size of the gradient."""

EPSILON_PPB_MAX: Final = 1_000_000_000
TAU_BITS: Final = range(6, 19)
"""tau = 2^-bits."""

PATIENCE_MAX: Final = 1_000
FOLDS: Final = range(2, 21)
TOP_MAX: Final = 100
"""Largest k of the metric top_k."""

METRIC_COUNT_MAX: Final = 8

SCORE_MAX: Final = (1 << 32) - 1
"""The best score of a model. Source: docs/EXACT.md, "Metrics"."""


class Numerics(Enum):
    """Whose arithmetic: ours, the same on every machine; or the platform's floats, which can't mine."""

    EXACT = "exact"
    NATIVE = "native"


class Distribution(Enum):
    """Of initial kernels."""

    UNIFORM = "uniform"
    NORMAL = "normal"


class Fan(Enum):
    """What the variance of initial kernels is divided by."""

    IN = "in"
    OUT = "out"
    AVERAGE = "average"
    ONE = "one"


@dataclass(frozen=True, slots=True)
class Initialiser:
    """Kernels with mean 0 and variance `variance_ppm` / 10^6 / fan; 0 gives zeros.

    Glorot (Xavier): 1 / average. He: 2 / in. A normal distribution of deviation s: s^2 / one.
    """

    distribution: Distribution
    fan: Fan
    variance_ppm: int


@dataclass(frozen=True, slots=True)
class Sgd:
    """Plain stochastic gradient descent."""

    learning_rate_ppm: int


@dataclass(frozen=True, slots=True)
class Momentum:
    """SGD with momentum: velocity' = momentum * velocity + rate * gradient (Sutskever et al. 2013)."""

    learning_rate_ppm: int
    momentum_q16: int
    nesterov: bool


@dataclass(frozen=True, slots=True)
class RmsProp:
    """RMSProp: gradients are divided by the root of their mean square."""

    learning_rate_ppm: int
    decay_q16: int
    epsilon_ppb: int


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam with bias correction; with `weight_decay_ppm` AdamW (Loshchilov and Hutter 2019)."""

    learning_rate_ppm: int
    beta1_q16: int
    beta2_q16: int
    epsilon_ppb: int
    weight_decay_ppm: int


Optimiser = Sgd | Momentum | RmsProp | Adam


@dataclass(frozen=True, slots=True)
class ConstantRate:
    """The learning rate stays."""


@dataclass(frozen=True, slots=True)
class StepRate:
    """Every `epochs` epochs the rate is multiplied by `factor_ppm` / 10^6."""

    epochs: int
    factor_ppm: int


@dataclass(frozen=True, slots=True)
class CosineRate:
    """The rate falls from its beginning to near 0 over the task's epochs, along half a cosine."""


Schedule = ConstantRate | StepRate | CosineRate


@dataclass(frozen=True, slots=True)
class Tau:
    """Size of one update, 2^-bits; with a density wanted it adapts to it (see `next_tau_bits`)."""

    bits: int
    density_ppm: int
    """Share of the weights that message maps should move, in millionths; 0: tau stays."""


@dataclass(frozen=True, slots=True)
class Holdout:
    """The last `percent` of the revealed mini-batches are set apart."""

    percent: int


@dataclass(frozen=True, slots=True)
class KFold:
    """Revealed batches are cut into folds; epoch e is validated on fold (e - 1) mod `folds`, unseen in it."""

    folds: int


Validation = Holdout | KFold


class Assignment(Enum):
    """Which miner processes which mini-batch. Source: PoUW §4.2.2."""

    INTERLEAVED = "interleaved"
    CONSISTENT_HASHING = "consistent hashing"


@dataclass(frozen=True, slots=True)
class FullReplicas:
    """Every supervisor stores all the revealed data."""


@dataclass(frozen=True, slots=True)
class ReedSolomon:
    """Of each revealed fragment a supervisor stores one of data + parity shards; any `data` restore it."""

    data: int
    parity: int

    @property
    def shards(self) -> int:
        """Shards of a fragment."""
        return self.data + self.parity


Redundancy = FullReplicas | ReedSolomon
"""How the supervisors store the data. Source: PoUW §4.2.3."""

FULL_REPLICAS: Final = FullReplicas()


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Stop when the best validation value of a metric is `patience` epochs old."""

    metric: str
    patience: int


@dataclass(frozen=True, slots=True)
class Target:
    """Stop when the validation value of a metric is as good as `value_ppm` / 10^6."""

    metric: str
    value_ppm: int


class Loss(Enum):
    """What training makes small."""

    SOFTMAX_CROSS_ENTROPY = "softmax_cross_entropy"
    BINARY_CROSS_ENTROPY = "binary_cross_entropy"
    MSE = "mse"
    MAE = "mae"

    @property
    def is_classification(self) -> bool:
        """Whether labels are classes, not numbers."""
        return self in (Loss.SOFTMAX_CROSS_ENTROPY, Loss.BINARY_CROSS_ENTROPY)


CLASSIFICATION_METRICS: Final = ("loss", "accuracy", "precision", "recall", "f1")
"""And top_2 to top_100."""

REGRESSION_METRICS: Final = ("loss", "mae", "rmse", "r2")
SMALLER_IS_BETTER: Final = ("loss", "mae", "rmse")


def top_k(metric: str) -> int:
    """Return the k of "top_k", 1 for "accuracy", else 0."""
    digits = metric.removeprefix("top_")
    plain = digits.isascii() and digits.isdigit() and not digits.startswith("0")
    if metric == "accuracy":
        return 1
    return int(digits) if plain and digits != metric and len(digits) <= len(str(TOP_MAX)) else 0


def check_metrics(metrics: tuple[str, ...], loss: Loss) -> None:
    """Check that metrics are known, fit the loss, and none stands twice.

    Raises:
      InvalidTransaction: the first rule that they break.
    """
    _require(1 <= len(metrics) <= METRIC_COUNT_MAX, f"1 to {METRIC_COUNT_MAX} metrics")
    _require(len(dict.fromkeys(metrics)) == len(metrics), "a metric stands twice")
    for metric in metrics:
        if loss.is_classification:
            known = metric in CLASSIFICATION_METRICS or 1 < top_k(metric) <= TOP_MAX
        else:
            known = metric in REGRESSION_METRICS
        _require(known, f"there is no metric {metric[:20]!r} for loss {loss.value}")


def check_optimiser(optimiser: Optimiser, schedule: Schedule) -> None:
    """Check an optimiser's numbers.

    Raises:
      InvalidTransaction: the first rule that it breaks.
    """
    plain = isinstance(optimiser, Sgd | Momentum)
    most = SGD_RATE_PPM_MAX if plain else ADAPTIVE_RATE_PPM_MAX
    _require(1 <= optimiser.learning_rate_ppm <= most, f"learning rate is above 0, at most {most // PPM}")
    if isinstance(optimiser, Momentum):
        _require(optimiser.momentum_q16 < Q16, "momentum is below 1")
    if isinstance(optimiser, RmsProp):
        _require(optimiser.decay_q16 < Q16, "decay is below 1")
    if isinstance(optimiser, Adam):
        _require(optimiser.beta1_q16 < Q16 and optimiser.beta2_q16 < Q16, "beta1 and beta2 are below 1")
        _require(optimiser.weight_decay_ppm <= PPM, "weight decay is at most 1")
    if isinstance(optimiser, RmsProp | Adam):
        _require(1 <= optimiser.epsilon_ppb <= EPSILON_PPB_MAX, "epsilon is above 0, at most 1")
    if isinstance(schedule, StepRate):
        _require(1 <= schedule.epochs <= Q16, "a schedule's step is 1 to 65,536 epochs")
        _require(1 <= schedule.factor_ppm <= PPM, "a schedule's factor is above 0, at most 1")


def learning_rate(optimiser: Optimiser, schedule: Schedule, epoch: int, epochs: int) -> int:
    """Return the learning rate of an epoch in units of 2^-24, at least 1.

    Args:
      optimiser: whose rate is scheduled.
      schedule: of the task.
      epoch: from 1.
      epochs: of the task; 0 where it trains without end (a cosine then stays at its beginning).
    """
    rate = (optimiser.learning_rate_ppm << 24) // PPM
    if isinstance(schedule, StepRate):
        for _ in range(min((epoch - 1) // schedule.epochs, 128)):
            rate = rate * schedule.factor_ppm // PPM
    if isinstance(schedule, CosineRate) and epochs:
        rate = rate * (_ONE + _cosine(epoch - 1, epochs)) >> (_COSINE_BITS + 1)
    return max(rate, 1)


_COSINE_BITS: Final = 60
_ONE: Final = 1 << _COSINE_BITS
_PI: Final = 3_622_009_729_038_561_421
"""pi in Q60, rounded."""


def _cosine(numerator: int, denominator: int) -> int:
    """Return cos(pi * numerator / denominator) in Q60, by its series; each term is rounded down."""
    square = (_PI * numerator // denominator) ** 2 >> _COSINE_BITS
    total, term = _ONE, _ONE
    for i in range(1, 40, 2):
        term = -(term * square >> _COSINE_BITS) // (i * (i + 1))
        total += term
    return max(-_ONE, min(_ONE, total))


def next_tau_bits(tau: Tau, bits: int, elements: int, weights: int) -> int:
    """Return the bits of a miner's tau in the next epoch, from what its messages of this epoch moved.

    tau doubles where the maps were more than twice as dense as wanted, and halves where they were less than
    half as dense.

    Args:
      tau: of the task.
      bits: of this epoch.
      elements: number of elements in all message maps of the epoch.
      weights: weights of the model, times the number of those maps.
    """
    if tau.density_ppm == 0 or weights == 0:
        return bits
    wanted = tau.density_ppm * weights
    coarser = elements * PPM > 2 * wanted
    finer = 2 * elements * PPM < wanted
    return min(max(bits - coarser + finer, TAU_BITS[0]), TAU_BITS[-1])


def is_over(stopping: EarlyStopping | Target | None, values: tuple[int, ...]) -> bool:
    """Return whether training stops after the epochs whose validation values are given.

    Args:
      stopping: the task's criterion.
      values: of the criterion's metric after each epoch, as bit patterns of float32.
    """
    if stopping is None or not values:
        return False
    qualities = [_order(bits) for bits in values]
    if stopping.metric in SMALLER_IS_BETTER:
        qualities = [-quality for quality in qualities]
    if isinstance(stopping, EarlyStopping):
        best = max(range(len(qualities)), key=lambda i: (qualities[i], -i))
        return len(qualities) - 1 - best >= stopping.patience
    return _reaches(values[-1], stopping)


def _order(bits: int) -> int:
    """Map a float32's bit pattern to an integer that sorts as the number does; both zeros give 0."""
    return -(bits & 0x7FFFFFFF) if bits >> 31 else bits


def _reaches(bits: int, target: Target) -> bool:
    # mantissa * 2^exponent against value_ppm / 10^6, in integers
    exponent, mantissa = (bits >> 23) & 0xFF, bits & 0x7FFFFF
    mantissa = (mantissa | 1 << 23 if exponent else mantissa) * (-1 if bits >> 31 else 1)
    shift = max(exponent, 1) - 150
    left = mantissa * PPM << max(shift, 0)
    right = target.value_ppm << max(-shift, 0)
    return left <= right if target.metric in SMALLER_IS_BETTER else left >= right


def spread_units(initialiser: Initialiser, fan_in: int, fan_out: int, bits: int) -> int:
    """Return how far initial weights go in units of 2^-bits: a uniform's limit, a normal's deviation."""
    # twice the fan, so that an average is whole
    doubled = {Fan.IN: 2 * fan_in, Fan.OUT: 2 * fan_out, Fan.AVERAGE: fan_in + fan_out, Fan.ONE: 2}
    factor = 6 if initialiser.distribution is Distribution.UNIFORM else 2
    return isqrt((factor * initialiser.variance_ppm << 2 * bits) // (PPM * doubled[initialiser.fan]))


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidTransaction(f"task definition: {rule}")
