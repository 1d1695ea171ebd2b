"""`p2pai replay` of an iteration that was really trained, with each of the two engines."""

from dataclasses import replace

import pytest
import yaml

from p2pai import jobs
from p2pai.cli import check, definition
from p2pai.cli.replay import Engine
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import record
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32
from p2pai.shell import trainer
from p2pai.shell.blobs import BlobStore
from p2pai.shell.config import BLOBS_NAME
from tests.cli.answers import HASH, TASK

FILE = {
    "name": "small",
    "fee": 1,
    "data": "package:digits.npz",
    "dataset": {"batch_size": 12},
    "model": {
        "layers": [{"dense": 16, "activation": "tanh"}, {"dropout": 0.25}, {"dense": 10}],
        "loss": "softmax_cross_entropy",
    },
    "optimiser": {"name": "momentum", "learning_rate": 0.1},
    "tau": 0.01,
    "epochs": 1,
}
PLACE = {"block": HASH, "task": TASK, "iteration": 1, "recorded_nonce": HASH}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A blob store with a capsule, the content id of what was applied, and the replay that is asked."""
    directory = tmp_path_factory.mktemp("verifier")
    blobs = BlobStore(directory / BLOBS_NAME)
    worker = Worker(blobs)
    task = check.complete(definition.parse(yaml.safe_dump(FILE), folder=directory), worker)
    worker.run(jobs.Open("a", task.encode(), ZERO_HASH, task.dataset.fragments[:1], None))
    bits = task.tau.bits
    first = worker.run(jobs.Step("a", jobs.Position(1, 0, bits), 0, ()))
    peers, position = (jobs.PeerUpdate(bits, first.message_map),), jobs.Position(1, 1, bits)
    step = worker.run(jobs.Step("a", position, 1, peers))
    kept = worker.run(jobs.KeepCapsule("a", step.before, step.batch))
    job = jobs.Replay(
        task=task.encode(), seed=ZERO_HASH, position=position, before=kept.before, batch=Hash32(kept.batch),
        peers=peers, message_map=step.message_map, metrics=step.metrics, samples=12, platform=ZERO_HASH,
    )  # fmt: skip
    return directory, blobs.put([b"applied"], shared=True), job, step


@pytest.fixture
def asked(node, trained):
    """Let the node ask for a replay; gives what the command hands back for judgement."""
    _, applied, job, _ = trained

    def ask(job=job, reason=""):
        node.answers["replay.job"] = [
            {"parts": {"applied": BlobId(applied).hex()}},
            {**PLACE, "job": record.encode_tagged(job).hex()},
        ]
        node.answers["replay.verdict"] = [{"reason": reason}]

    return ask


def replayed(node):
    """Return what the trainer found."""
    [found] = [params["replayed"] for method, params in node.asked if method == "replay.verdict"]
    return record.decode(jobs.Replayed, bytes.fromhex(found), size_max=1 << 20)


@pytest.fixture
def verifier(tmp_path, trained):
    """The data directory of the node, with the blobs of the one that trained."""
    (tmp_path / BLOBS_NAME).symlink_to(trained[0] / BLOBS_NAME)
    return tmp_path


@pytest.mark.parametrize("engine", Engine)
def test_both_engines_find_the_same_bits(node, p2pai, asked, verifier, trained, engine):
    asked()
    status, out, err = p2pai("replay", "7", "--engine", engine)
    assert (status, err) == (0, "")
    assert out.startswith(f"identical: block ababab..abab, iteration 1, recomputed by {engine} in ")
    assert (replayed(node).difference, replayed(node).after) == ("", trained[3].after)


@pytest.mark.parametrize("engine", Engine)
def test_both_engines_see_a_wrong_metric(node, p2pai, asked, verifier, trained, engine):
    job = trained[2]
    asked(replace(job, metrics=(job.metrics[0] ^ 1, job.metrics[1])), reason="its loss is another")
    status, out, _ = p2pai("replay", "7", "--engine", engine)
    assert status == 1
    assert f"different: block ababab..abab, iteration 1, recomputed by {engine}: its loss is another" in out
    assert replayed(node).difference


def test_the_engine_is_told_to_programs(node, p2pai_json, asked, verifier):
    asked()
    answer = p2pai_json("replay", "7", "--engine", "numpy")
    assert (answer["engine"], answer["identical"]) == ("numpy", True)


def test_the_trainer_knows_the_same_engines():
    assert tuple(engine.value for engine in Engine) == trainer.ENGINES


def test_an_unknown_engine_is_wrong_usage(p2pai):
    assert p2pai("replay", "7", "--engine", "abacus")[0] == 2
