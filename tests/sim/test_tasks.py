"""Tasks of other kinds go the whole way, with the real trainer: trained, mined on, replayed, scored, paid."""

from dataclasses import replace

import numpy as np
import pytest

from p2pai.chain import course, schedule
from p2pai.chain.layers import (
    Activation,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Function,
    MaxPool,
    Padding,
)
from p2pai.chain.state import Stage
from p2pai.chain.training import (
    SCORE_MAX,
    Adam,
    CosineRate,
    KFold,
    Loss,
    Momentum,
    Numerics,
    ReedSolomon,
    Target,
    Tau,
)
from testnet.simulator.network import draft, name_of, network, order
from testnet.simulator.trainer import real_trainer

pytestmark = pytest.mark.usefixtures("shared")

RELU = Activation(Function.RELU)
IMAGES = replace(
    draft(epochs=30),
    input_shape=(8, 8, 1),
    layers=(
        Conv(6, 3, 3, 1, Padding.SAME),
        BatchNorm(58_982),
        RELU,
        MaxPool(2, 2),
        Flatten(),
        Dropout(6_554),
        Dense(10),
    ),
    optimiser=Adam(3_000, 58_982, 65_470, 100, 0),
    schedule=CosineRate(),
    tau=Tau(10, 50_000),
    validation=KFold(4),
    stopping=Target("accuracy", 850_000),
)
NUMBERS = replace(
    draft(epochs=12),
    layers=(Dense(8), Activation(Function.TANH), Dense(2)),
    dataset=replace(draft().dataset, batch_size=20),
    loss=Loss.MSE,
    metrics=("r2", "rmse", "loss"),
    optimiser=Momentum(20_000, 52_429, nesterov=True),
    tau=Tau(6, 0),
)


def blocks_of(net, task):
    """Blocks mined with iterations of a task whose verification is over."""
    blocks = net.core(1).query("block.list", {"count": 1_000})
    return [b for b in blocks if b["task"] == task.hex() and b["settled"]]


def paid(net, task):
    assert net.run_to(task, Stage.PAID, 300), net.task(task)
    height = net.core(1).state.height
    assert net.world.run(lambda: net.core(1).state.height > height + 4, 120), "until all blocks are settled"
    assert net.settle()
    net.check()
    assert net.world.rejected == []
    return net.task(task)


def test_images_with_state_beside_the_weights_until_a_target_is_reached():
    net = network(35, trainer=real_trainer)
    task_id = net.submit(order(IMAGES))
    task = paid(net, task_id)
    assert min(task.conclusion.scores) > 0.7 * SCORE_MAX
    mined = blocks_of(net, task_id)
    assert mined, "no block came from this task"
    assert all(b["approvals"] == b["verifiers"] == 3 for b in mined)
    plan = schedule.make_schedule(task.definition, task.definition_block)
    latest = net.core(1).following[task_id].history.latest
    for ticket in task.miners:
        last, place = latest[ticket], course.Place(plan, ticket, task.roster)
        assert last.iteration < place.iterations - 1, "it stopped before the last epoch"
        assert course.may_end(task.definition, place, last)
    assert {m.tau_bits for m in latest.values()} != {10}, "tau has moved"


@pytest.mark.slow  # the demonstration's data are in shards too
def test_data_in_shards():
    net = network(34, trainer=real_trainer)
    task_id = net.submit(order(replace(draft(epochs=3), redundancy=ReedSolomon(2, 1))))
    task = paid(net, task_id)
    assert min(task.conclusion.scores) > 0.7 * SCORE_MAX
    plan = schedule.make_schedule(task.definition, task.definition_block)
    client = net.world.hosts[name_of(0)].blobs
    assert task.definition.dataset.shards in client.shared
    assert not any(fragment in client.shared for fragment in plan.training)


@pytest.mark.slow
def test_numbers_instead_of_classes(tmp_path):
    dice = np.random.default_rng(5)
    x = dice.uniform(-1, 1, (400, 4)).astype(np.float32)
    np.savez(tmp_path / "numbers.npz", x=x, y=np.tanh(x @ dice.uniform(-1, 1, (4, 2))))
    net = network(32, trainer=real_trainer)
    task_id = net.submit(order(NUMBERS, str(tmp_path / "numbers.npz")))
    task = paid(net, task_id)
    assert task.definition.dataset.targets == 2
    assert min(task.conclusion.scores) > 0.5 * SCORE_MAX, "r2"
    assert all(b["approvals"] == b["verifiers"] == 3 for b in blocks_of(net, task_id))


@pytest.mark.slow
def test_native_numerics_are_paid_but_mine_nothing():
    net = network(33, trainer=real_trainer)
    task_id = net.submit(order(replace(draft(epochs=3), numerics=Numerics.NATIVE)))
    task = paid(net, task_id)
    assert min(task.conclusion.scores) > 0.7 * SCORE_MAX
    assert blocks_of(net, task_id) == []
