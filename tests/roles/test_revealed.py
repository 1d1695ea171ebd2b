"""Target: a miner ends up with all revealed fragments, whole or from shards, or knows of the client's lie."""

from dataclasses import replace

import pytest

from p2pai import events, jobs
from p2pai.chain import shards
from p2pai.primitives import blob, merkle
from p2pai.roles.revealed import RETRY_MS, Revealed
from tests.roles.sharded import WHOLE, Part, cut, rows


class Mined(Part):
    """One miner's data."""

    def __init__(self, **changes):
        super().__init__(2, **changes)
        self.complete = 0
        self.faults = []
        self.revealed = Revealed(self.node, "work", self.task, self.plan, self.done, self.faults.append)
        self.run(self.revealed.begin)

    def done(self):
        self.complete += 1

    def list(self):
        self.serve(self.definition.dataset.shards)

    def serve_all(self):
        while self.lone.fetches:
            self.serve(*self.lone.fetches)


def leaves(fragment):
    return tuple(merkle.leaf_hash(batch) for batch in cut()[0].get(fragment))


class TestWhole:
    def test_fragments_are_fetched_from_the_client_and_the_supervisors(self):
        at = Mined(scheme=WHOLE)
        assert list(at.lone.fetches) == list(at.plan.training)
        assert set(at.lone.fetches.values()) == {(at.definition.client, *at.peers(0, 1, 2))}
        at.serve(*at.plan.training)
        assert at.complete == 1
        assert at.revealed.manifests == {f: leaves(f) for f in at.plan.training}

    def test_what_nobody_had_is_asked_for_again(self):
        at = Mined(scheme=WHOLE)
        at.lone.fetched(at.plan.training[0])
        at.serve(*at.plan.training[1:])
        at.lone.wait(RETRY_MS + 1)
        assert list(at.lone.fetches) == [at.plan.training[0]]
        at.serve(at.plan.training[0])
        assert at.complete == 1

    def test_training_begins_once_however_many_were_asked_for_again(self):
        at = Mined(scheme=WHOLE)
        for _ in range(3):
            for fragment in at.plan.training:
                at.lone.fetched(fragment)
            assert at.lone.fetches == {}
            at.lone.wait(RETRY_MS + 1)
        assert sorted(at.lone.fetches) == sorted(at.plan.training)
        at.serve(*at.plan.training)
        assert at.complete == 1


class TestShards:
    def test_as_many_as_it_takes_are_fetched_and_the_fragments_restored(self):
        at = Mined(worker=True)
        at.list()
        assert set(at.lone.fetches) == {shard for row in at.rows for shard in row[:2]}
        at.serve_all()
        assert (at.complete, at.revealed.fault) == (1, None)
        assert at.revealed.manifests == {f: leaves(f) for f in at.plan.training}
        assert not any(f in at.lone.blobs for f in at.plan.test)

    def test_who_stores_a_shard_is_asked_first_then_the_client(self):
        at = Mined()
        at.list()
        client = at.definition.client
        for row in at.rows:
            assert at.lone.fetches[row[0]] == (*at.peers(0), client, *at.peers(1, 2))
            assert at.lone.fetches[row[1]] == (*at.peers(1), client, *at.peers(0, 2))

    @pytest.mark.parametrize("lost", [0, 1])
    def test_another_takes_the_place_of_one_that_is_lost(self, lost):
        at = Mined(worker=True)
        at.list()
        row = at.rows[0]
        at.lone.fetched(row[lost])
        assert row[2] in at.lone.fetches
        at.serve_all()
        assert (at.complete, at.revealed.fault) == (1, None)
        assert row[lost] not in at.lone.blobs

    def test_when_too_few_are_to_be_had_all_are_asked_for_again(self):
        at = Mined(worker=True)
        at.list()
        row = at.rows[0]
        for shard in (row[0], row[2]):
            at.lone.fetched(shard)
        at.serve_all()
        assert at.complete == 0
        for _ in range(3):
            at.lone.wait(RETRY_MS + 1)
            assert list(at.lone.fetches) == [row[0]]
            at.lone.fetched(row[0])
            at.lone.fetched(row[2])
        at.lone.wait(RETRY_MS + 1)
        at.serve(row[0])
        assert at.complete == 1

    def test_the_list_is_asked_for_until_it_is_here(self):
        at = Mined()
        listed = at.definition.dataset.shards
        assert at.lone.fetches == {listed: (at.definition.client, *at.peers(0, 1, 2))}
        at.lone.fetched(listed)
        at.lone.wait(RETRY_MS + 1)
        assert list(at.lone.fetches) == [listed]

    def test_a_trainer_that_failed_is_asked_again(self):
        at = Mined()
        at.list()
        at.serve(*at.rows[0][:2])
        at.lone.trained(jobs.Failed("the trainer died"))
        assert at.lone.jobs == []
        at.lone.wait(RETRY_MS + 1)
        (again,) = at.lone.jobs
        assert again.job == jobs.Restore(at.definition.encode(), at.plan.training[0])

    def test_after_the_end_nothing_is_asked(self):
        at = Mined()
        at.list()
        at.revealed.stop()
        at.lone.fetched(at.rows[0][0])
        at.serve(*list(at.lone.fetches))
        at.lone.wait(10 * RETRY_MS)
        assert (at.lone.fetches, at.lone.jobs, at.complete) == ({}, [], 0)


class TestInspection:
    """With Reed-Solomon no supervisor sees whole fragments: who restores them looks into them first."""

    def restored(self):
        """A miner that has restored every fragment, in its trainer's hands."""
        at = Mined()
        at.list()
        at.serve_all()
        for fragment in at.plan.training:
            (effect,) = [e for e in at.lone.jobs if e.job == jobs.Restore(at.definition.encode(), fragment)]
            at.lone.blobs.put(cut()[0].get(fragment), shared=False)
            at.lone.trained(jobs.Restored(fragment, ""), at.lone.jobs.index(effect))
        return at

    def test_fragments_are_looked_into_before_anything_begins(self):
        at = self.restored()
        (effect,) = at.lone.jobs
        assert effect.job == jobs.Inspect(at.definition.encode(), at.plan.training)
        assert at.complete == 0
        at.lone.trained(jobs.Inspected(None, ""))
        assert (at.complete, at.faults, at.revealed.fault) == (1, [], None)

    def test_a_fault_is_told_instead_with_its_place_in_the_definition(self):
        at = self.restored()
        fragment = at.plan.training[4]
        at.lone.trained(jobs.Inspected(fragment, "a label is out of range"))
        place = at.definition.dataset.fragments.index(fragment)
        assert (at.complete, at.faults) == (0, [place])
        assert at.revealed.fault == (place, "a label is out of range")
        at.lone.wait(10 * RETRY_MS)
        assert (at.lone.jobs, at.lone.fetches, at.complete, at.faults) == ([], {}, 0, [place])

    def test_a_trainer_that_failed_is_asked_again(self):
        at = self.restored()
        at.lone.trained(jobs.Failed("the trainer died"))
        assert (at.complete, at.faults, at.lone.jobs) == (0, [], [])
        at.lone.wait(RETRY_MS + 1)
        at.lone.trained(jobs.Inspected(None, ""))
        assert at.complete == 1

    def test_after_the_end_nothing_is_told(self):
        at = self.restored()
        at.revealed.stop()
        at.lone.trained(jobs.Inspected(at.plan.training[0], "malformed"))
        assert (at.complete, at.faults) == (0, [])

    def test_whole_fragments_the_supervisors_looked_into(self):
        at = Mined(scheme=WHOLE)
        at.serve(*at.plan.training)
        assert (at.complete, at.lone.jobs) == (1, [])


class TestLies:
    def lying(self, change):
        """A miner whose client has a list of its own making."""
        found = rows(Mined().definition)
        made_up = [change(found, place) for place in range(len(found))]
        listed = cut()[0].put(shards.write(made_up), shared=False)
        return Mined(listed=listed, worker=True)

    @pytest.mark.parametrize(
        "change",
        [lambda found, i: found[i - 1], lambda found, i: (found[i][1], found[i][0], found[i][2])],
        ids=["another's shards", "in another order"],
    )
    def test_shards_of_the_list_that_restore_something_else(self, change):
        at = self.lying(change)
        at.list()
        at.serve_all()
        assert at.complete == 0
        fragment, reason = at.revealed.fault
        assert at.definition.dataset.fragments[fragment] in at.plan.training
        assert reason
        assert at.faults == [fragment]
        at.lone.wait(10 * RETRY_MS)
        assert at.lone.fetches == {}

    def test_a_list_that_is_none(self):
        chunks = (b"no list",)
        at = Mined(listed=blob.blob_id(chunks))
        at.lone.fetched(blob.blob_id(chunks), chunks)
        assert "list of shards" in at.revealed.fault[1]
        assert at.faults == [at.revealed.fault[0]]
        assert at.lone.fetches == {}


class TestShipped:
    """A predefined task's data are cut here, and need not be anywhere else."""

    def test_what_the_trainer_died_of_is_cut_again(self):
        at = Part(2, scheme=WHOLE)
        done = []
        task = replace(at.task, stake=None)
        revealed = Revealed(at.node, "own", task, at.plan, lambda: done.append(1), done.append)
        at.run(revealed.begin)
        self.end(at, jobs.Failed("it died"))
        for fragment in at.plan.training:
            at.lone.fetched(fragment)
        at.lone.wait(RETRY_MS + 1)
        assert [type(train.job) for train in at.lone.jobs] == [jobs.Prepare] * len(at.plan.training)
        for fragment in at.plan.training:
            at.lone.blobs.put(at.theirs.get(fragment), shared=False)
        while at.lone.jobs:
            self.end(at, jobs.Prepared(1, 1, 2, 0, at.plan.training))
        assert done == [1]

    def end(self, at, result):
        at.lone.give(events.Trained(at.lone.jobs.pop(0).request, result))
