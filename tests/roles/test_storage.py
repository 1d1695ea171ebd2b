"""Target: a supervisor ends up with what falls to it, however often it asks, and tells of malformed data."""

import pytest

from p2pai import jobs
from p2pai.primitives import blob
from p2pai.roles.storage import RETRY_MS, Storage
from tests.roles.sharded import WHOLE, Part


class Stored(Part):
    """One supervisor's storage, and what it told."""

    def __init__(self, index=0, **changes):
        super().__init__(4, **changes)
        self.complete, self.faults = 0, []
        self.storage = Storage(self.node, self.id, self.task, index, self.done, self.malformed)
        self.run(self.storage.begin)

    def done(self):
        self.complete += 1

    def malformed(self, fragment, reason):
        self.faults.append((fragment, reason))


class TestFullReplicas:
    def test_everything_revealed_is_fetched_and_looked_into(self):
        at = Stored(scheme=WHOLE)
        assert list(at.lone.fetches) == list(at.plan.training)
        for providers in at.lone.fetches.values():
            assert providers == (at.definition.client, *at.peers(0, 1, 2))
        at.serve(*at.plan.training)
        (job,) = at.lone.jobs
        assert job.job == jobs.Inspect(at.definition.encode(), at.plan.training)
        assert at.complete == 0
        at.lone.trained(jobs.Inspected(None, ""))
        assert (at.complete, at.faults) == (1, [])
        assert set(at.lone.blobs.shared) == set(at.plan.training)

    def test_what_nobody_had_is_asked_for_again(self):
        at = Stored(scheme=WHOLE)
        first, *others = at.plan.training
        at.serve(*others)
        for _ in range(3):
            at.lone.fetched(first)
            assert at.lone.fetches == {}
            at.lone.wait(RETRY_MS + 1)
            assert list(at.lone.fetches) == [first]
        at.serve(first)
        assert len(at.lone.jobs) == 1

    def test_a_fault_is_told_with_the_fragments_place_in_the_definition(self):
        at = Stored(scheme=WHOLE)
        at.serve(*at.plan.training)
        at.lone.trained(jobs.Inspected(at.plan.training[5], "a label is out of range"))
        place = at.definition.dataset.fragments.index(at.plan.training[5])
        assert (at.complete, at.faults) == (0, [(place, "a label is out of range")])

    def test_a_trainer_that_failed_is_asked_again(self):
        at = Stored(scheme=WHOLE)
        at.serve(*at.plan.training)
        at.lone.trained(jobs.Failed("the trainer died"))
        assert (at.complete, at.faults, at.lone.jobs) == (0, [], [])
        at.lone.wait(RETRY_MS + 1)
        at.lone.trained(jobs.Inspected(None, ""))
        assert at.complete == 1

    def test_good_data_pass_in_a_real_trainer(self):
        at = Stored(scheme=WHOLE, worker=True)
        at.serve(*at.plan.training)
        assert (at.complete, at.faults) == (1, [])

    def test_the_data_of_a_predefined_task_are_there(self):
        at = Part(4, scheme=WHOLE)
        told = []
        task = at.chain.task(at.chain.predefined)
        storage = Storage(at.node, at.chain.predefined, task, 0, lambda: told.append("done"), told.append)
        at.run(storage.begin)
        assert (told, at.lone.fetches) == (["done"], {})


class TestReedSolomon:
    @pytest.mark.parametrize(("index", "shard"), [(0, 0), (1, 1), (2, 2), (3, 0), (5, 2)])
    def test_the_shards_of_its_place_are_fetched(self, index, shard):
        at = Stored(index)
        listed = at.definition.dataset.shards
        assert list(at.lone.fetches) == [listed]
        at.serve(listed)
        wanted = [row[shard] for row in at.rows]
        assert list(at.lone.fetches) == wanted
        at.serve(*wanted)
        assert (at.complete, at.faults, at.lone.jobs) == (1, [], [])
        assert set(at.lone.blobs.shared) == {listed, *wanted}

    def test_the_list_and_shards_are_asked_for_until_they_are_here(self):
        at = Stored(1)
        listed = at.definition.dataset.shards
        at.lone.fetched(listed)
        at.lone.wait(RETRY_MS + 1)
        at.serve(listed)
        wanted = [row[1] for row in at.rows]
        at.lone.fetched(wanted[0])
        at.serve(*wanted[1:])
        assert at.complete == 0
        at.lone.wait(RETRY_MS + 1)
        assert list(at.lone.fetches) == [wanted[0]]
        at.serve(wanted[0])
        assert at.complete == 1

    @pytest.mark.parametrize("chunks", [(b"no list",), (bytes(960),), (bytes(96),) * 9], ids=len)
    def test_a_list_that_is_none_is_told(self, chunks):
        at = Stored(listed=blob.blob_id(chunks))
        at.lone.fetched(blob.blob_id(chunks), chunks)
        ((fragment, reason),) = at.faults
        assert fragment == at.definition.dataset.fragments.index(at.plan.training[0])
        assert "list of shards" in reason
        assert (at.complete, at.lone.fetches) == (0, {})


class TestDoubt:
    """A miner says that a fragment is malformed: then a supervisor with shards restores it and looks."""

    def holding(self, **changes):
        """A supervisor that has the list of shards; of the shards nothing yet."""
        at = Stored(1, **changes)
        at.serve(at.definition.dataset.shards)
        return at

    def doubt(self, at, number):
        """Doubt a training fragment; return it and its place in the definition."""
        fragment = at.plan.training[number]
        place = at.definition.dataset.fragments.index(fragment)
        at.run(lambda: at.storage.doubt(place))
        return fragment, place

    def test_the_fragment_alone_is_restored_and_looked_into(self):
        at = self.holding()
        own = [row[1] for row in at.rows]
        assert list(at.lone.fetches) == own
        fragment, place = self.doubt(at, 3)
        asked = [f for f in at.lone.fetches if f not in own]
        assert asked == [at.rows[3][0]], "it asked for the other one already"
        at.serve(*at.rows[3][:2])
        (job,) = at.lone.jobs
        assert job.job == jobs.Restore(at.definition.encode(), fragment)
        at.lone.trained(jobs.Restored(fragment, ""))
        (job,) = at.lone.jobs
        assert job.job == jobs.Inspect(at.definition.encode(), (fragment,))
        at.lone.trained(jobs.Inspected(fragment, "a label is out of range"))
        assert at.faults == [(place, "a label is out of range")]

    def test_one_doubt_is_enough(self):
        at = self.holding()
        self.doubt(at, 3)
        asked = list(at.lone.fetches)
        for _ in range(3):
            self.doubt(at, 3)
        assert list(at.lone.fetches) == asked
        at.serve(*at.rows[3][:2])
        assert len(at.lone.jobs) == 1
        at.lone.trained(jobs.Restored(at.plan.training[3], ""))
        at.lone.trained(jobs.Inspected(None, ""))
        self.doubt(at, 3)
        at.lone.wait(10 * RETRY_MS)
        assert (at.lone.jobs, at.faults, at.complete) == ([], [], 0)

    def test_good_data_pass_in_a_real_trainer(self):
        at = self.holding(worker=True)
        fragment, _ = self.doubt(at, 0)
        at.serve(*at.rows[0][:2])
        assert fragment in at.lone.blobs
        assert at.faults == []

    def test_shards_that_restore_something_else_are_told(self):
        at = self.holding()
        fragment, place = self.doubt(at, 2)
        at.serve(*at.rows[2][:2])
        at.lone.trained(jobs.Restored(fragment, "the shards restore something else"))
        assert (at.faults, at.lone.jobs) == ([(place, "the shards restore something else")], [])

    def test_a_trainer_that_failed_is_asked_again(self):
        at = self.holding()
        fragment, place = self.doubt(at, 2)
        at.serve(*at.rows[2][:2])
        at.lone.trained(jobs.Restored(fragment, ""))
        at.lone.trained(jobs.Failed("the trainer died"))
        assert (at.faults, at.lone.jobs) == ([], [])
        at.lone.wait(RETRY_MS + 1)
        at.lone.trained(jobs.Inspected(fragment, "malformed"))
        assert at.faults == [(place, "malformed")]

    def test_outside_the_training_data_nothing_is_looked_for(self):
        """What the test data are only the evaluators may know, and only when training is over."""
        at = self.holding()
        asked = list(at.lone.fetches)
        fragments = at.definition.dataset.fragments
        for place in (*(fragments.index(f) for f in at.plan.test), len(fragments), 2**63):
            at.run(lambda place=place: at.storage.doubt(place))
        assert list(at.lone.fetches) == asked
        assert at.lone.jobs == []

    def test_without_the_list_of_shards_it_cannot_yet(self):
        at = Stored(1)
        self.doubt(at, 0)
        assert list(at.lone.fetches) == [at.definition.dataset.shards]
        at.serve(at.definition.dataset.shards)
        asked = len(at.lone.fetches)
        self.doubt(at, 0)
        assert len(at.lone.fetches) == asked + 1

    def test_with_full_replicas_it_has_looked_already(self):
        at = Stored(scheme=WHOLE)
        at.serve(*at.plan.training)
        at.lone.trained(jobs.Inspected(None, ""))
        self.doubt(at, 0)
        assert (at.lone.fetches, at.lone.jobs, at.faults) == ({}, [], [])

    def test_it_ends_with_the_training(self):
        at = self.holding()
        self.doubt(at, 3)
        at.storage.stop()
        at.serve(*list(at.lone.fetches))
        at.lone.wait(10 * RETRY_MS)
        assert (at.lone.fetches, at.lone.jobs, at.faults) == ({}, [], [])


class TestStopping:
    @pytest.mark.parametrize("scheme", [WHOLE, None], ids=["full", "shards"])
    def test_nothing_is_asked_or_told_any_more(self, scheme):
        at = Stored(**({"scheme": scheme} if scheme else {}))
        asked = list(at.lone.fetches)
        at.storage.stop()
        at.lone.fetched(asked[0])
        at.serve(*asked[1:])
        at.lone.wait(10 * RETRY_MS)
        assert (at.complete, at.faults, at.lone.fetches, at.lone.jobs) == (0, [], {}, [])

    def test_nor_when_the_trainer_answers_late(self):
        at = Stored(scheme=WHOLE)
        at.serve(*at.plan.training)
        at.storage.stop()
        at.lone.trained(jobs.Inspected(at.plan.training[0], "malformed"))
        assert (at.complete, at.faults) == (0, [])
