"""One iteration of Algorithm 1: against the oracle, and its promises about peers' maps."""

from dataclasses import replace

import exact_oracle as oracle
import numpy as np
import oracle_training
import pytest
from kinds import DENSE, KINDS, SEED, chunk_of, chunks_of, peers_of, position_of
from tensors import same

from p2pai import jobs
from p2pai.chain.layers import Dense
from p2pai.jaxtrain import message_map, optimiser
from p2pai.jaxtrain.dataset import read_batch
from p2pai.jaxtrain.exact import grid
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.step import dropout_keys, trainer_of
from p2pai.jaxtrain.weights import pack
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32
from p2pai.primitives.merkle import leaf_hash

SMALL = replace(DENSE, layers=(Dense(6), DENSE.layers[1], Dense(10)))
COUNT = SMALL.weight_count


def iterate(task, values, i=0, peers=(), tau_bits=8, iteration=0):
    """Run one iteration on mini-batch i; peers are pairs of tau's bits and signs."""
    chunk = chunk_of(task, i)
    trainer, batch = trainer_of(task), read_batch(task, chunk)
    position = jobs.Position(1, iteration, tau_bits)
    keys = dropout_keys(trainer.architecture, SEED, position, leaf_hash(chunk))
    constants = optimiser.constants(task, 1, iteration)
    updates = [jobs.PeerUpdate(bits, message_map.encode(signs)) for bits, signs in peers]
    computed = trainer.begin(values, batch, updates, tau_bits, keys, constants)
    return trainer.finish(computed, batch)


def packed(outcome):
    values = outcome.values
    slots = [leaf for slot in values.optimiser for leaf in slot]
    parts = ([*values.weights, *values.statistics], values.residual, slots)
    return [pack(part) for part in parts], outcome.message_map


def signs(seed, density=0.3):
    dice = np.random.default_rng(seed)
    drawn = np.where(dice.random(COUNT) < density, dice.integers(0, 2, COUNT) * 2 - 1, 0)
    return drawn.astype(np.int8)


@pytest.mark.parametrize("kind", ["two classes", "squares"])
def test_every_array_of_an_iteration_is_the_oracles(kind):
    """The digests of test_identity say whether all kinds agree; this says where one does not."""
    task = KINDS[kind]
    state, values = oracle_training.initial(task, SEED), initial_values(task, SEED)
    for i, chunk in enumerate(chunks_of(kind)[:2]):
        epoch, iteration, tau_bits = position_of(i)
        trainer, batch = trainer_of(task), read_batch(task, chunk)
        keys = dropout_keys(
            trainer.architecture, SEED, jobs.Position(epoch, iteration, tau_bits), leaf_hash(chunk)
        )
        updates = [jobs.PeerUpdate(bits, message_map.encode(s)) for bits, s in peers_of(task, i)]
        constants = optimiser.constants(task, epoch, iteration)
        outcome = trainer.finish(trainer.begin(values, batch, updates, tau_bits, keys, constants), batch)
        data = (leaf_hash(chunk), *oracle_training.read(task, chunk))
        state, moved, metrics = oracle_training.iterate(
            task, SEED, state, data, position_of(i), peers_of(task, i)
        )
        values = outcome.values
        for found, wanted in (
            (values.weights, state.weights),
            (values.statistics, state.statistics),
            (values.residual, state.residual),
            *zip(values.optimiser, state.optimiser, strict=True),
        ):
            for leaf, expected in zip(found, wanted.values(), strict=True):
                same(leaf, expected)
        assert outcome.message_map == message_map.encode(moved)
        assert outcome.score.bits(task.metrics) == metrics


def test_peers_commute_and_repeated_indices_add_up():
    values = initial_values(SMALL, SEED)
    peers = [(9 + k, signs(k)) for k in range(5)] * 2
    assert packed(iterate(SMALL, values, peers=peers)) == packed(iterate(SMALL, values, peers=peers[::-1]))
    twice, coarser = ([(10, signs(0))] * 2, [(9, signs(0))])
    assert packed(iterate(SMALL, values, peers=twice)) == packed(iterate(SMALL, values, peers=coarser))


def test_opposite_maps_leave_no_trace():
    values = initial_values(SMALL, SEED)
    with_them = iterate(SMALL, values, peers=[(7, signs(9)), (7, -signs(9))])
    assert packed(with_them) == packed(iterate(SMALL, values))


def test_peers_move_against_the_sign_and_stop_at_the_edge():
    edge = grid.WEIGHT_UNITS_MAX * 2.0**-20
    values = initial_values(SMALL, SEED)
    full = values._replace(weights=tuple(np.full_like(w, edge) for w in values.weights))
    ones = np.ones(COUNT, np.int8)
    silent = replace(SMALL, optimiser=replace(SMALL.optimiser, learning_rate_ppm=1))
    still = iterate(silent, full, peers=[(6, -ones)] * 3)
    lower = iterate(silent, full, peers=[(6, ones)] * 3)
    assert message_map.element_count(still.message_map) == message_map.element_count(lower.message_map) == 0
    assert all(np.all(np.asarray(leaf) == edge) for leaf in still.values.weights)
    assert all(np.all(np.asarray(leaf) == edge - 3 * 2**-6) for leaf in lower.values.weights)


def test_full_residuals_stay_at_the_edge_and_give_one_update():
    most = grid.RESIDUAL_UNITS_MAX
    values = initial_values(SMALL, SEED)
    signed = [
        np.where(np.arange(r.size).reshape(r.shape) % 2, most, -most).astype(np.int32)
        for r in values.residual
    ]
    fast = replace(SMALL, optimiser=replace(SMALL.optimiser, learning_rate_ppm=16_000_000))
    outcome = iterate(fast, values._replace(residual=tuple(signed)), tau_bits=18)
    sent = message_map.decode(outcome.message_map, COUNT)
    before = np.concatenate([leaf.ravel() for leaf in signed])
    after = np.concatenate([np.asarray(leaf).ravel() for leaf in outcome.values.residual])
    assert np.array_equal(sent, np.sign(before))
    assert np.max(after.astype(np.int64)) == most - 2**8
    assert np.min(after.astype(np.int64)) == 2**8 - most


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        (jobs.PeerUpdate(8, b"\0\1"), "message map"),
        (jobs.PeerUpdate(8, message_map.encode(signs(1)) + b"\0"), "message map"),
        (jobs.PeerUpdate(5, message_map.encode(signs(1))), "tau is out of range"),
        (jobs.PeerUpdate(19, message_map.encode(signs(1))), "tau is out of range"),
    ],
)
def test_a_malformed_peers_update_is_refused(peer, said):
    trainer = trainer_of(SMALL)
    for updates in ([peer], [jobs.PeerUpdate(8, message_map.encode(signs(2))), peer]):
        with pytest.raises(InvalidMessage, match=said):
            trainer._sum_updates(updates)


def test_more_maps_than_a_weight_could_carry_are_refused():
    update = jobs.PeerUpdate(6, message_map.encode(signs(1)))
    with pytest.raises(InvalidMessage, match="65536"):
        trainer_of(SMALL)._sum_updates([update] * (grid.MAP_COUNT_MAX + 1))


@pytest.mark.parametrize(
    "taus", [(18,), (6, 9, 18), (6, 6), (6, 7), tuple(range(6, 19)), (*range(6, 19), 18)]
)
def test_peers_maps_are_summed_in_units_of_their_own_tau(taus):
    """Some of these sums reach what 16 bits hold, and just beyond."""
    ones = np.ones(COUNT, np.int8)
    for sign in (1, -1):
        updates = [jobs.PeerUpdate(bits, message_map.encode(sign * ones)) for bits in taus]
        found = np.asarray(trainer_of(SMALL)._sum_updates(updates))
        assert found.tolist() == [sign * sum(2 ** (20 - bits) for bits in taus)] * COUNT
    mixed = [jobs.PeerUpdate(bits, message_map.encode(signs(bits))) for bits in taus]
    wanted = sum(signs(bits).astype(int) * 2 ** (20 - bits) for bits in taus)
    assert np.asarray(trainer_of(SMALL)._sum_updates(mixed)).tolist() == wanted.tolist()


def test_without_peers_nothing_moves():
    assert np.asarray(trainer_of(SMALL)._sum_updates([])).tolist() == [0] * COUNT


def test_dropout_keys_depend_on_everything():
    net = Architecture.of(KINDS["residual"])
    position, batch = jobs.Position(1, 0, 8), Hash32(bytes(32))
    first = dropout_keys(net, SEED, position, batch)
    assert first.shape == (1, 2)
    assert first.dtype == np.uint32
    assert np.array_equal(first, dropout_keys(net, SEED, replace(position, tau_bits=9), batch))
    others = [
        dropout_keys(net, Hash32(bytes(32)), position, batch),
        dropout_keys(net, SEED, replace(position, epoch=2), batch),
        dropout_keys(net, SEED, replace(position, iteration=1), batch),
        dropout_keys(net, SEED, position, SEED),
        dropout_keys(Architecture.of(KINDS["images"]), SEED, position, batch),
    ]
    assert len({key.tobytes() for key in (first, *others)}) == 6


def test_a_network_without_dropout_has_no_keys():
    assert dropout_keys(Architecture.of(SMALL), SEED, jobs.Position(1, 0, 8), SEED).shape == (0, 2)


def test_tasks_of_one_kind_share_a_trainer():
    other = replace(SMALL, name="other", epochs=9, metrics=("accuracy",))
    assert trainer_of(SMALL) is trainer_of(other)
    assert trainer_of(SMALL) is not trainer_of(replace(SMALL, mantissa_bits=7))


def test_the_score_is_that_of_the_forward_pass_after_the_peers_maps():
    values, peers = initial_values(SMALL, SEED), [(6, signs(3))]
    outcome = iterate(SMALL, values, peers=peers)
    shift = [leaf << 14 for leaf in Architecture.of(SMALL).split(signs(3).astype(np.int32))]
    moved = [
        oracle.each(oracle.move, oracle.exact(w), n.astype(object))
        for w, n in zip(values.weights, shift, strict=True)
    ]
    theta = [oracle.to_numpy(leaf) for leaf in moved]
    batch = read_batch(SMALL, chunk_of(SMALL, 0))
    assert trainer_of(SMALL).score(theta, (), batch) == outcome.score
