"""The simulator's trainer by itself (what it shares with the real one is in tests/jaxtrain/test_jobs.py)."""

import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

import testnet
from p2pai import jobs
from p2pai.chain.message_map import check
from p2pai.chain.training import SCORE_MAX
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32
from testnet.simulator.host import Blobs
from testnet.simulator.network import draft
from testnet.simulator.toy import Toy, leaf_of, read_map, write_map
from testnet.simulator.trainer import FastTrainer

SEED = Hash32(bytes(range(32)))
STEP_US_MAX = 400


def prepared():
    """A trainer with a task whose fragments are stored."""
    trainer = FastTrainer(blobs := Blobs())
    task = draft()
    cut = trainer.run(jobs.Prepare("package:digits.npz", "npz", False, 30, 10))
    found = (cut.samples, cut.features, cut.classes, cut.targets, cut.fragments)
    return blobs, trainer, task.with_data(*found)


def position(iteration, tau_bits=6, epoch=1):
    return jobs.Position(epoch, iteration, tau_bits)


def train(toy, iterations, miners=3):
    """Let miners train side by side; each applies the others' maps of the iteration before."""
    states, maps = [toy.initial(SEED)] * miners, [()] * miners
    for i in range(iterations):
        peers = [tuple(jobs.PeerUpdate(6, m) for m in maps[:k] + maps[k + 1 :] if m) for k in range(miners)]
        leaves = [leaf_of(bytes([i % 40, k])) for k in range(miners)]
        outcomes = [
            toy.step(s, leaf, SEED, position(i), p) for s, leaf, p in zip(states, leaves, peers, strict=True)
        ]
        states, maps = [o.after for o in outcomes], [o.message_map for o in outcomes]
    return states


def accuracy(toy, state):
    chunks = [bytes([200, i]) for i in range(12)]
    return toy.score(state.weights, chunks).quality("accuracy") / SCORE_MAX


def test_scores_rise_with_the_iterations_that_happened():
    toy = Toy(prepared()[2])
    scores = [accuracy(toy, train(toy, n)[0]) for n in (0, 10, 20, 40, 80)]
    assert scores == sorted(scores)
    assert scores[0] < 0.4
    assert scores[-1] > 0.9


def test_who_trains_with_others_learns_faster():
    toy = Toy(prepared()[2])
    assert accuracy(toy, train(toy, 20, 3)[0]) > accuracy(toy, train(toy, 20, 1)[0]) + 0.05


def test_no_two_miners_have_one_model():
    toy = Toy(prepared()[2])
    states = train(toy, 30, 4)
    assert all(a != b for a, b in combinations(states, 2))
    assert len({toy.score(s.weights, [b"chunk"]) for s in states}) == 4


CHANGES = {
    "weights": {"weights": bytes(64)},
    "residual": {"residual": bytes([1]) + bytes(63)},
    "seen": {"seen": bytes(32)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_iteration_depends_on_all_of_the_state(change):
    toy = Toy(prepared()[2])
    state = train(toy, 3)[0]
    outcomes = [toy.step(s, leaf_of(b"x"), SEED, position(3), ()) for s in (state, replace(state, **change))]
    assert outcomes[0].after.ids != outcomes[1].after.ids


def test_an_iteration_depends_on_batch_seed_place_and_peers():
    toy = Toy(prepared()[2])
    state, peer = train(toy, 3)[0], jobs.PeerUpdate(6, write_map([(2, 1)], toy.weight_count))
    told = [
        (leaf_of(b"x"), SEED, position(3), ()),
        (leaf_of(b"y"), SEED, position(3), ()),
        (leaf_of(b"x"), Hash32(bytes(32)), position(3), ()),
        (leaf_of(b"x"), SEED, position(4), ()),
        (leaf_of(b"x"), SEED, position(3, epoch=2), ()),
        (leaf_of(b"x"), SEED, position(3, tau_bits=7), ()),
        (leaf_of(b"x"), SEED, position(3), (peer,)),
        (leaf_of(b"x"), SEED, position(3), (peer, peer)),
        (leaf_of(b"x"), SEED, position(3), (replace(peer, tau_bits=8),)),
    ]
    ends = [toy.step(state, *one).after for one in told]
    for part in ("residual", "seen"):
        assert len({getattr(end, part) for end in ends[:4]}) == 4
    assert len({end.ids for end in ends}) == len(told)
    assert toy.step(state, *told[0]).after == ends[0]


def test_a_peers_map_moves_the_weights_it_names():
    toy = Toy(prepared()[2])
    state = toy.initial(SEED)

    def weights(*elements):
        peers = (jobs.PeerUpdate(8, write_map(elements, toy.weight_count)),) if elements else ()
        after = toy.step(state, leaf_of(b"x"), SEED, position(0), peers).after
        return [int.from_bytes(after.weights[i : i + 4], "little", signed=True) for i in range(0, 64, 4)]

    def taus(*elements):
        return [round((b - a) / 4096) for a, b in zip(weights(), weights(*elements), strict=True)]

    assert taus((3, 1), (5, -1)) == [0, 0, 0, 1, 0, -1] + [0] * 10
    assert taus((19, 1)) == [0, 0, 0, 1] + [0] * 12


@pytest.mark.parametrize("weight_count", [1, 3, 16, 100, 255, 256, 1210])
def test_maps_have_the_one_form(weight_count):
    for elements in ([], [(0, -1)], [(i, 1 - 2 * (i % 2)) for i in range(min(16, weight_count))]):
        data = write_map(elements, weight_count)
        check(data, weight_count)
        assert read_map(data, weight_count) == tuple(elements)


def test_what_no_trainer_writes_is_refused():
    toy = Toy(prepared()[2])
    for data in (b"", b"\2\0", write_map([(5, 1)], 100), b"\0\1\0\0\0\xff"):
        with pytest.raises(InvalidMessage):
            read_map(data, 5)
    with pytest.raises(InvalidMessage, match="tau"):
        toy.step(toy.initial(SEED), leaf_of(b""), SEED, position(0, tau_bits=40), ())


def test_a_step_takes_microseconds():
    """Bound with room for a slow, busy machine; docs/BENCHMARKS.md has what it takes."""
    toy = Toy(prepared()[2])
    start = time.process_time()
    train(toy, 200)
    assert (time.process_time() - start) / 600 * 1e6 < STEP_US_MAX


def test_neither_the_fast_trainer_nor_the_world_loads_jax():
    program = (
        "import sys; from testnet.simulator.trainer import FastTrainer; import testnet.simulator.network;"
        "sys.exit('jax' in sys.modules)"
    )
    root = str(Path(testnet.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": root}, check=False)
    assert done.returncode == 0
