"""Replay of a mined block from its capsule, as `p2pai replay` does: identical, or what differs.

What: every part of the capsule of a real block, tampered with; every recorded value, tampered with. How: the
node's own `replay.job`, the real trainer on a store of the capsule's parts.
"""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from life import real_life

from p2pai import jobs
from p2pai.chain import it_res
from p2pai.jaxtrain import message_map
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, InvalidMessage, InvalidProof, Unavailable
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.roles import replaying
from testnet.simulator.host import Blobs
from testnet.simulator.network import name_of

pytestmark = pytest.mark.usefixtures("shared")

PARTS = ("weights", "residual", "optimiser", "batch", "applied")


@lru_cache(maxsize=1)
def subject():
    """A settled block of the client's task that applied peers' messages, and its capsule's parts."""
    it = real_life()
    core = it.network.core(7)
    blocks = core.query("block.list", {"count": 100})
    for block in blocks:
        if block["task"] == it.task.hex() and block["settled"] and block["approvals"]:
            report = core.query("replay.job", {"block": block["hash"]})
            parts = {name: find(report["parts"][name]) for name in PARTS}
            if len(parts["applied"]) > 10:
                return core, block["hash"], parts
    raise AssertionError("no such block")


def find(name):
    wanted = BlobId(Hash32(bytes.fromhex(name)))
    for host in real_life().network.world.hosts.values():
        if wanted in host.blobs:
            assert wanted in host.blobs.shared
            return b"".join(host.blobs.get(wanted))
    raise AssertionError("a part of the capsule is nowhere")


def job_of(parts):
    core, block, _ = subject()
    report = core.query("replay.job", {"block": block, "applied": parts["applied"].hex()})
    return record.decode_tagged(jobs.Replay, bytes.fromhex(report["job"]), size_max=1 << 22)


def replay(job, parts):
    """Run the job on a store that serves these bytes under the recorded ids."""
    ids = (job.before.weights, job.before.residual, job.before.optimiser, BlobId(job.batch))
    served = dict(zip(ids, (parts[name] for name in PARTS[:4]), strict=True))

    class Served(Blobs):
        def get(self, name, /):
            return (served[name],)

    return Worker(Served()).run(job)


def verdict(result):
    core, block, _ = subject()
    return core.query("replay.verdict", {"block": block, "replayed": record.encode(result).hex()})


def test_an_honest_block_replays_identically():
    parts = subject()[2]
    result = replay(job_of(parts), parts)
    assert result.difference == ""
    assert verdict(result) == {"identical": True, "reason": ""}


def flipped(data, at, bit=0):
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_weights_moved_by_one_step_are_found_out():
    parts = dict(subject()[2])
    values = np.frombuffer(parts["weights"], "<f4").copy()
    values[700] += np.float32(2**-6)
    result = replay(job_of(parts), {**parts, "weights": values.tobytes()})
    found = verdict(result)
    assert not found["identical"]
    assert found["reason"]


def test_a_residual_changed_in_one_element_is_found_out_and_the_tensor_named():
    parts = dict(subject()[2])
    values = np.frombuffer(parts["residual"], "<i4").copy()
    # Just enough below the threshold that this element is not sent any more, or is sent although it was not.
    values[0] = 2**30
    found = verdict(replay(job_of(parts), {**parts, "residual": values.tobytes()}))
    assert not found["identical"]
    assert found["reason"].startswith("message map at layer0/kernel[0, 0]"), found


def test_a_residual_changed_by_the_least_is_found_out():
    parts = dict(subject()[2])
    values = np.frombuffer(parts["residual"], "<i4").copy()
    values[5] += 1
    found = verdict(replay(job_of(parts), {**parts, "residual": values.tobytes()}))
    assert not found["identical"]


@pytest.mark.parametrize("place", [40, -1])
def test_a_changed_batch_is_found_out(place):
    parts = dict(subject()[2])
    at = place % len(parts["batch"])
    found = verdict(replay(job_of(parts), {**parts, "batch": flipped(parts["batch"], at, 1)}))
    assert not found["identical"]
    assert found["reason"]


def test_an_optimiser_state_that_plain_sgd_has_not_is_found_out():
    parts = dict(subject()[2])
    found = verdict(replay(job_of(parts), {**parts, "optimiser": b"x"}))
    assert "optimiser state: 1 bytes, expected 0" in found["reason"]


@pytest.mark.parametrize(
    ("part", "name"), [("weights", "model"), ("residual", "residual"), ("batch", "mini-batch")]
)
def test_a_part_cut_short_is_found_out_and_named(part, name):
    parts = dict(subject()[2])
    found = verdict(replay(job_of(parts), {**parts, part: parts[part][:-4]}))
    assert found["reason"].startswith(f"malformed capsule: {name}"), found


def test_peers_messages_that_are_not_those_named_make_no_job():
    core, block, parts = subject()
    listed = record.decode(replaying.PeerMessages, parts["applied"], size_max=1 << 22).messages
    assert listed

    def refuse(messages, reason):
        applied = record.encode(replaying.PeerMessages(tuple(messages))).hex()
        with pytest.raises(InvalidProof, match=reason):
            core.query("replay.job", {"block": block, "applied": applied})

    refuse(listed[:-1], "not those that the iteration names")
    refuse((*listed, listed[0]), "not those that the iteration names")
    refuse([flipped(listed[0], 40), *listed[1:]], "not those that the iteration names")


def test_a_recorded_map_with_one_element_more_is_found_out_and_named():
    parts = subject()[2]
    job = job_of(parts)
    count = 64 * 16 + 16 + 16 * 10 + 10
    signs = message_map.decode(job.message_map, count)
    place = int(np.flatnonzero(signs == 0)[-1])
    signs[place] = 1
    result = replay(replace(job, message_map=message_map.encode(signs)), parts)
    assert result.difference.startswith("message map at layer2/")
    assert result.difference.endswith("recorded +1, replayed nothing")


def test_a_recorded_metric_that_is_off_by_the_least_is_found_out_and_named():
    parts = subject()[2]
    job = job_of(parts)
    accuracy, loss = job.metrics
    assert replay(replace(job, metrics=(accuracy, loss + 1)), parts).difference.startswith("metric loss")
    assert replay(replace(job, metrics=(accuracy ^ 1, loss)), parts).difference.startswith("metric accuracy")


def test_the_blob_of_a_slot_holds_its_messages_one_after_the_other():
    it = real_life()
    supervisor = it.network.core(1).roles["supervisor"]
    slots = supervisor.recorded[it.task].values()
    assert len(slots) > 10
    for slot in slots:
        chunks = it.network.world.hosts[name_of(1)].blobs.get(BlobId(slot.statement.root))
        assert it_res.split(b"".join(chunks)) == chunks
        assert tuple(it_res.message_id(chunk) for chunk in chunks) == slot.messages
        with pytest.raises(InvalidMessage):
            it_res.split(b"".join(chunks)[:-1])


def test_the_genesis_block_has_nothing_to_replay():
    with pytest.raises(InvalidInput, match="genesis"):
        subject()[0].query("replay.job", {"block": "0"})


def test_an_unknown_block_is_unavailable():
    with pytest.raises(Unavailable):
        subject()[0].query("replay.job", {"block": "99999"})


def test_nonsense_is_refused_in_words():
    core, block, _ = subject()
    with pytest.raises(InvalidInput, match="hexadecimal"):
        core.query("replay.job", {"block": block, "applied": "zz"})
    with pytest.raises(InvalidInput):
        core.query("replay.verdict", {"block": block, "replayed": "00"})


def test_every_block_of_the_history_can_still_be_replayed():
    core = real_life().network.core(7)
    miners = {name_of(a) for a in (4, 5, 6)}
    checked = 0
    for block in core.query("block.list", {"count": 100}):
        if not block["settled"]:
            continue
        parts = core.query("replay.job", {"block": block["hash"]})["parts"]
        holders = [h for n, h in real_life().network.world.hosts.items() if n in miners]
        for part in parts.values():
            wanted = BlobId(Hash32(bytes.fromhex(part)))
            assert any(wanted in h.blobs.shared and wanted in h.blobs for h in holders)
        checked += 1
    assert checked >= 5
