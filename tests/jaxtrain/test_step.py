"""One iteration of Algorithm 1: against the oracle, and its promises about peers' maps."""

import exact_oracle as oracle
import numpy as np
import pytest

from p2pai.chain.task import Dense
from p2pai.jaxtrain import message_map
from p2pai.jaxtrain.dataset import Batch
from p2pai.jaxtrain.exact import grid
from p2pai.jaxtrain.initialiser import initial_residual, initial_weights
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.step import Trainer
from p2pai.jaxtrain.weights import pack
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32

NET = Architecture(5, (Dense(4, "relu"), Dense(3, "none")))
SEED = Hash32(bytes(range(32)))


@pytest.fixture(scope="module")
def trainer():
    return Trainer(NET, 700_000, 9)


def batch_of(seed, size=6):
    dice = np.random.default_rng(seed)
    x = (dice.integers(0, 17, (size, 5)) / 16).astype(np.float32)
    return Batch(x, dice.integers(0, 3, size).astype(np.int32))


def map_of(seed, density=0.3):
    dice = np.random.default_rng(seed)
    signs = np.where(
        dice.random(NET.weight_count) < density, dice.integers(0, 2, NET.weight_count) * 2 - 1, 0
    )
    return message_map.encode(signs.astype(np.int8))


def test_iterations_are_the_oracles_bit_for_bit(trainer):
    theta, residual = initial_weights(NET, SEED), initial_residual(NET)
    slow_theta = [oracle.exact(leaf) for leaf in theta]
    slow_residual = [leaf.tolist() for leaf in residual]
    for i in range(8):
        batch, peers = batch_of(i), [map_of(100 + 3 * i + k) for k in range(3)]
        outcome = trainer.iterate(theta, residual, batch, peers)
        counts = [leaf.tolist() for leaf in trainer.sum_maps(peers)]
        slow_theta, slow_residual, signs, loss, correct = oracle.iterate(
            slow_theta, slow_residual, counts, oracle.exact(batch.x), batch.y.tolist(), 700_000, 9
        )
        theta, residual = outcome.weights, outcome.residual
        assert all(np.array_equal(a, oracle.to_numpy(b)) for a, b in zip(theta, slow_theta, strict=True))
        assert [np.asarray(leaf).tolist() for leaf in residual] == slow_residual
        flat = np.concatenate([np.ravel(leaf) for leaf in signs]).astype(np.int8)
        assert outcome.message_map == message_map.encode(flat)
        assert (outcome.score.loss_q30, outcome.score.correct) == (loss, correct)
        assert trainer.score(theta, batch) == outcome.score
    assert message_map.element_count(outcome.message_map) > 0


def test_peers_commute_and_repeated_indices_add_up(trainer):
    theta, residual, batch = initial_weights(NET, SEED), initial_residual(NET), batch_of(1)
    peers = [map_of(k) for k in range(5)] * 2
    forth = trainer.iterate(theta, residual, batch, peers)
    back = trainer.iterate(theta, residual, batch, peers[::-1])
    assert pack(forth.weights) == pack(back.weights)
    assert pack(forth.residual) == pack(back.residual)
    assert forth.message_map == back.message_map
    twice = trainer.sum_maps([peers[0], peers[0]])
    assert all(np.array_equal(a, 2 * b) for a, b in zip(twice, trainer.sum_maps(peers[:1]), strict=True))


def test_opposite_maps_leave_no_trace(trainer):
    theta, residual, batch = initial_weights(NET, SEED), initial_residual(NET), batch_of(2)
    signs = message_map.decode(map_of(9), NET.weight_count)
    peers = [message_map.encode(signs), message_map.encode(-signs)]
    with_them, without = (trainer.iterate(theta, residual, batch, p) for p in (peers, []))
    assert pack(with_them.weights) == pack(without.weights)


def test_peers_move_against_the_sign_and_stop_at_the_edge(trainer):
    edge = grid.WEIGHT_UNITS_MAX / 2**20
    theta = tuple(np.full(shape, edge, np.float32) for shape in NET.shapes)
    down = message_map.encode(np.ones(NET.weight_count, np.int8))
    up = message_map.encode(-np.ones(NET.weight_count, np.int8))
    silent = Trainer(NET, 1, 9)
    still = silent.iterate(theta, initial_residual(NET), batch_of(3), [up] * 3)
    assert all(np.all(np.asarray(leaf) == edge) for leaf in still.weights)
    lower = silent.iterate(theta, initial_residual(NET), batch_of(3), [down] * 3)
    assert all(np.all(np.asarray(leaf) == edge - 3 * 2**-9) for leaf in lower.weights)


def test_a_malformed_peer_map_is_refused(trainer):
    with pytest.raises(InvalidMessage):
        trainer.iterate(initial_weights(NET, SEED), initial_residual(NET), batch_of(1), [map_of(1) + b"\0"])


def test_initial_weights_lie_on_the_grid_within_glorots_limit():
    wide = Architecture(64, (Dense(50, "relu"), Dense(10, "none")))
    leaves = initial_weights(wide, SEED)
    limit = (6 / 114) ** 0.5
    units = leaves[0].astype(np.float64) * 2**20
    assert np.array_equal(units, np.rint(units))
    assert 0.98 * limit < np.max(np.abs(leaves[0])) <= limit
    assert abs(float(np.mean(leaves[0]))) < limit / 50
    assert not leaves[1].any()
    assert not np.array_equal(leaves[0], initial_weights(wide, Hash32(bytes(32)))[0])


def test_a_weight_has_one_name():
    assert NET.names == ("layer0/kernel", "layer0/bias", "layer1/kernel", "layer1/bias")
    assert NET.weight_count == 39
    places = [NET.locate(i) for i in (0, 7, 19, 20, 23, 24, 38)]
    assert places == [
        "layer0/kernel[0, 0]",
        "layer0/kernel[1, 3]",
        "layer0/kernel[4, 3]",
        "layer0/bias[0]",
        "layer0/bias[3]",
        "layer1/kernel[0, 0]",
        "layer1/bias[2]",
    ]
