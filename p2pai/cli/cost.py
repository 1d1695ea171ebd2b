"""What a task costs: shapes, weights, products, bytes and nonces, worked out from its definition alone.

Bytes of memory are estimates: they count what must be held, not what a compiler adds.

Source: PoUW §5.1; PROTOCOL section 7; docs/EXACT.md.
"""

from dataclasses import fields, replace
from enum import Enum
from math import ceil, prod
from typing import Any, Final

from p2pai.chain.layers import Layer, Placed, statistics_of
from p2pai.chain.message_map import DENSITY_INVERSE
from p2pai.chain.params import Params
from p2pai.chain.schedule import make_schedule
from p2pai.chain.task import PEER_ID_LENGTH_MAX, TaskDefinition
from p2pai.chain.training import (
    PPM,
    Adam,
    Assignment,
    FullReplicas,
    Momentum,
    Numerics,
    Redundancy,
    RmsProp,
    Sgd,
)
from p2pai.chain.work import nonce_count
from p2pai.primitives.ids import ZERO_HASH, PeerId

OPTIMISER_BYTES: Final = {Sgd: 0, Momentum: 4, RmsProp: 8, Adam: 12}
"""Of an optimiser's state for each weight. Source: docs/EXACT.md, "Optimisers"."""

WEIGHT_BYTES: Final = 4
STATISTIC_BYTES: Final = 8
CAPSULES_KEPT: Final = 16
"""Earlier states that a trainer holds, since a nonce is tried some iterations later.

Source: jaxtrain/session.py.
"""

Answer = dict[str, Any]


def definition_size(task: TaskDefinition) -> int:
    """Return the bytes of a definition on chain, with the longest name of a client."""
    return len(replace(task, client=PeerId("x" * PEER_ID_LENGTH_MAX)).encode())


def describe_layer(placed: Placed) -> Answer:
    """Say what a layer is, and what it costs a sample."""
    return {
        "layer": placed.index,
        "kind": type(placed.layer).__name__,
        "numbers": _numbers(placed.layer),
        "output": list(placed.output),
        "weights": sum(prod(tensor.shape) for tensor in placed.weights),
        "products": placed.product_length * prod(placed.output),
    }


def _numbers(layer: Layer) -> Answer:
    values = {field.name: getattr(layer, field.name) for field in fields(layer)}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def describe_dataset(task: TaskDefinition) -> Answer:
    """Say what the data are."""
    data = task.dataset
    return {
        "format": data.format,
        "samples": data.samples,
        "features": data.features,
        "classes": data.classes,
        "targets": data.targets,
        "batch_size": data.batch_size,
        "fragments": len(data.fragments),
        "training_fragments": task.training_fragment_count,
        "redundancy": _redundancy(task.redundancy),
    }


def _redundancy(scheme: Redundancy) -> Answer:
    if isinstance(scheme, FullReplicas):
        return {"kind": "full"}
    return {"kind": "reed_solomon", "data": scheme.data, "parity": scheme.parity}


def describe_course(task: TaskDefinition) -> Answer:
    """Say how long training is; which fragments are revealed may change it by a mini-batch or two.

    With consistent hashing it differs from miner to miner: that of the average.
    """
    plan, miners = (
        make_schedule(replace(task, assignment=Assignment.INTERLEAVED), ZERO_HASH),
        task.group.miners,
    )
    return {
        "assignment": task.assignment.value,
        "revealed_batches": plan.revealed_count,
        "validation_batches": len(plan.held_out(1)),
        "miners": miners,
        "epochs": task.epochs,
        "iterations_per_epoch": plan.iterations_of(1, 0, miners),
        "iterations": plan.iterations(0, miners),
    }


def describe_iteration(task: TaskDefinition, params: Params, batch_bytes: int) -> Answer:
    """Say what an iteration costs, and what it earns.

    Args:
      task: complete.
      params: of the network, which say what work earns.
      batch_bytes: of the largest mini-batch.
    """
    batch_size, weights = task.dataset.batch_size, task.weight_count
    forward, backward = products(task)
    statistics = sum(prod(shape) for shape in statistics_of(task.placed))
    weight_bytes = 2 * WEIGHT_BYTES + OPTIMISER_BYTES[type(task.optimiser)]
    state = weights * weight_bytes + statistics * STATISTIC_BYTES
    values = sum(prod(placed.output) for placed in task.placed) + prod(task.input_shape)
    wanted = weights * task.tau.density_ppm // PPM
    return {
        "products_forward": forward,
        "products_backward": backward,
        "activation_bytes": batch_size * values * 4,
        "state_bytes": state,
        "states_kept": CAPSULES_KEPT,
        "batch_bytes": batch_bytes,
        "capsule_bytes": state + batch_bytes,
        "map_bytes_max": map_size(task.map_elements_max, weights),
        "map_bytes_wanted": map_size(wanted, weights) if wanted else None,
        "nonces": 0 if task.numerics is Numerics.NATIVE else nonce_count(task, params),
    }


def products(task: TaskDefinition) -> tuple[int, int]:
    """Return the multiplications of an iteration's forward and backward pass.

    Backward, a layer's gradient of weights costs as much as its forward pass, and so does that of its input,
    which the first layer with weights does not need.
    """
    counts = [placed.product_length * prod(placed.output) for placed in task.placed]
    forward = sum(counts)
    first = next((count for count in counts if count), 0)
    return forward * task.dataset.batch_size, (2 * forward - first) * task.dataset.batch_size


def map_size(elements: int, weights: int) -> int:
    """Return the bytes of a message map of so many elements."""
    header = 1 + max(1, ceil(elements.bit_length() / 7))
    is_list = elements * DENSITY_INVERSE <= weights
    return header + (4 * elements if is_list else ceil(weights / 4))
