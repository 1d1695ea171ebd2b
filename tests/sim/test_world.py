"""The world itself: time, network, disk and trainer as the caller's faults say, one history per seed."""

import pytest

from p2pai import effects, events, jobs
from p2pai.effects import Judge, Verdict
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import Hash32, PeerId
from testnet.simulator.fetching import FETCHED_BYTES_MAX
from testnet.simulator.host import Blobs
from testnet.simulator.questions import ANSWER_MS_MAX
from testnet.simulator.world import START_MS, World

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")


class Scripted:
    """A core that does what it is told when something happens, and remembers what happened."""

    def __init__(self, **reactions):
        self.reactions = reactions
        self.seen = []

    def handle(self, event, now_ms):
        self.seen.append((now_ms, event))
        reaction = self.reactions.get(type(event).__name__, ())
        return reaction(event) if callable(reaction) else reaction

    def events(self, kind):
        return [event for _, event in self.seen if isinstance(event, kind)]


class Echo:
    def __init__(self, blobs):
        self.blobs = blobs

    def run(self, job):
        return jobs.Failed(job.session)


def world(seed=1, **options):
    return World(seed, Echo, **options)


def joined(**reactions):
    return Scripted(Started=(effects.Join("t"),), **reactions)


def run_out(world, limit_s=100):
    world.run(lambda: False, limit_s)


def test_gossip_reaches_those_who_joined_and_not_the_sender():
    w = world()
    cores = {
        A: Scripted(Started=(effects.Join("t"),), Connected=(effects.Publish("t", b"x"),)),
        B: joined(),
        C: Scripted(),
    }
    for name, core in cores.items():
        w.add(name, core)
    run_out(w)
    assert {e.data for e in cores[B].events(events.Received)} == {b"x"}
    assert cores[A].events(events.Received) == cores[C].events(events.Received) == []


def test_gossip_is_lost_at_the_rate_given():
    w = world(gossip_loss_percent=25)
    sender = Scripted(Submitted=tuple(effects.Publish("t", bytes([i % 256])) for i in range(1000)))
    receiver = joined()
    w.add(A, sender)
    w.add(B, receiver)
    w.submit(A, "go", b"")
    run_out(w)
    heard = len(receiver.events(events.Received))
    assert 650 < heard < 850
    assert heard + w.fired["loss"] == 1000


def test_a_refused_message_is_remembered_with_its_reason():
    w = world()
    w.add(A, Scripted(Submitted=(effects.Publish("t", b"x"),)))
    w.add(B, joined(Received=(Judge(Verdict.REJECT, "because"),)))
    w.submit(A, "go", b"")
    run_out(w)
    assert w.rejected == [(B, "because")]


def test_a_node_that_is_cut_off_hears_nothing_until_it_is_let_in():
    w = world()
    w.add(A, Scripted(Submitted=(effects.Publish("t", b"x"), effects.Ask(1, B, b"?"))))
    receiver = joined(Asked=lambda e: (effects.Answer(e.request, b"!"),))
    w.add(B, receiver)
    run_out(w)
    w.isolate(B)
    w.submit(A, "go", b"")
    run_out(w)
    assert receiver.events(events.Received) == receiver.events(events.Asked) == []
    assert w.fired["unanswered"] == 1
    w.isolate()
    run_out(w, 5)
    w.submit(A, "go", b"")
    run_out(w)
    assert len(receiver.events(events.Received)) == len(receiver.events(events.Asked)) == 1


def test_questions_are_answered_by_who_was_asked():
    w = world()
    asker = Scripted(Submitted=(effects.Ask(7, B, b"?"), effects.Ask(8, PeerId("nobody"), b"?")))
    w.add(A, asker)
    w.add(B, Scripted(Asked=lambda e: (effects.Answer(e.request, e.body + b"!"),)))
    w.submit(A, "go", b"")
    run_out(w)
    answers = {e.request: (e.remote, e.body) for e in asker.events(events.Answered)}
    assert answers == {7: (B, b"?!"), 8: (PeerId("nobody"), None)}


def test_a_question_to_a_node_that_dies_fails_after_a_while():
    w = world()
    asker = Scripted(Submitted=(effects.Ask(1, B, b"?"),))
    w.add(A, asker)
    w.add(B, Scripted())
    run_out(w)
    w.submit(A, "go", b"")
    w.step()
    w.restart(B, Scripted())
    asked_ms = w.now_ms
    run_out(w)
    ((at_ms, answer),) = [(t, e) for t, e in asker.seen if isinstance(e, events.Answered)]
    assert answer.body is None
    assert at_ms >= asked_ms + ANSWER_MS_MAX


def test_a_timer_set_again_fires_once():
    w = world()
    core = Scripted(
        Started=(effects.SetTimer("x", 10),),
        Connected=(effects.SetTimer("x", 100),),
    )
    w.add(A, core)
    w.add(B, Scripted())
    run_out(w)
    assert len(core.events(events.TimerFired)) == 1
    assert next(t for t, e in core.seen if isinstance(e, events.TimerFired)) - core.seen[0][0] == 101


def test_records_reach_the_disk_in_order():
    w = world()
    core = Scripted(Submitted=tuple(effects.Persist(i, bytes([i])) for i in range(50)))
    host = w.add(A, core)
    w.submit(A, "go", b"")
    run_out(w)
    assert [e.token for e in core.events(events.Persisted)] == list(range(50))
    assert host.disk.journal == [bytes([i]) for i in range(50)]
    assert host.disk.waiting == []


@pytest.mark.parametrize("seed", range(5))
def test_a_kill_keeps_what_was_promised_and_any_part_of_the_rest(seed):
    w = world(seed)
    writes = [effects.Persist(i, bytes([i])) for i in range(20)]
    core = Scripted(Submitted=lambda e: writes[:8] if e.method == "first" else writes[8:])
    host = w.add(A, core)
    w.submit(A, "first", b"")
    assert w.run(lambda: len(core.events(events.Persisted)) == 8, 10)
    w.submit(A, "rest", b"")
    w.step()
    again = Scripted()
    w.restart(A, again, down_ms=500)
    killed_ms = w.now_ms
    run_out(w)
    (started,) = again.events(events.Started)
    assert 8 <= len(started.journal) <= 20
    assert list(started.journal) == host.disk.journal == [bytes([i]) for i in range(len(started.journal))]
    assert w.fired["lost-record"] == 20 - len(started.journal)
    assert again.seen[0][0] == killed_ms + 500
    assert again.events(events.Persisted) == []


def test_some_kill_loses_records():
    lost = 0
    for seed in range(5):
        w = world(seed)
        w.add(A, Scripted(Submitted=tuple(effects.Persist(i, b"") for i in range(20))))
        w.submit(A, "go", b"")
        w.run(lambda: False, 0)
        w.restart(A, Scripted())
        lost += w.fired["lost-record"]
    assert lost > 0


def test_a_dead_node_hears_nothing_and_forgets_its_topics_and_timers():
    w = world()
    w.add(A, Scripted(Submitted=(effects.Publish("t", b"x"),)))
    first = Scripted(Started=(effects.Join("t"), effects.SetTimer("x", 5_000)))
    w.add(B, first)
    run_out(w, 1)
    again = joined()
    w.restart(B, again, down_ms=1_000)
    w.submit(A, "go", b"")
    run_out(w)
    assert [type(e).__name__ for _, e in again.seen] == ["Started", "Connected"]
    w.submit(A, "go", b"")
    run_out(w)
    assert len(again.events(events.Received)) == 1
    assert len(first.seen) == 2


def test_others_see_a_node_go_and_come_back():
    w = world()
    other = Scripted()
    w.add(A, other)
    w.add(B, Scripted())
    run_out(w)
    w.restart(B, Scripted())
    run_out(w)
    kinds = [type(e).__name__ for _, e in other.seen]
    assert kinds == ["Started", "Connected", "Disconnected", "Connected"]


def test_jobs_run_one_after_the_other_and_not_after_a_kill():
    w = world()
    request = [Hash32(bytes([i]) * 32) for i in range(3)]
    core = Scripted(Submitted=tuple(effects.Train(r, jobs.Keep(str(i))) for i, r in enumerate(request)))
    w.add(A, core)
    w.submit(A, "go", b"")
    run_out(w)
    assert [(e.request, e.result.reason) for e in core.events(events.Trained)] == list(
        zip(request, "012", strict=True)
    )
    w.submit(A, "go", b"")
    w.run(lambda: False, 0)
    again = Scripted()
    w.restart(A, again)
    run_out(w)
    assert again.events(events.Trained) == []


def test_only_shared_blobs_can_be_fetched():
    w = world()
    asker, owner = Scripted(), Scripted()
    w.add(A, asker)
    host = w.add(B, owner)
    private = host.blobs.put((b"secret",), shared=False)
    public = host.blobs.put((b"a", b"b"), shared=True)
    large = host.blobs.put((bytes(FETCHED_BYTES_MAX), b"!"), shared=True)
    asker.reactions["Submitted"] = tuple(effects.Fetch(b, (B,)) for b in (private, public, large))
    w.submit(A, "go", b"")
    run_out(w)
    fetched = {e.blob: e for e in asker.events(events.Fetched)}
    assert fetched[private].chunks is None
    assert fetched[public].data == b"ab"
    assert len(fetched[public].chunks) == 2
    assert fetched[large].data is None
    assert len(fetched[large].chunks) == 2
    assert public in w.hosts[A].blobs.shared


def test_a_blob_store_knows_what_it_lacks():
    blobs = Blobs()
    name = blobs.put((b"x",), shared=False)
    assert name in blobs
    assert name not in blobs.shared
    with pytest.raises(Unavailable):
        blobs.get(Hash32(bytes(32)))


def test_one_seed_is_one_history_and_another_seed_is_another():
    digests = []
    for seed in (1, 1, 2):
        w = world(seed, gossip_loss_percent=30)
        w.add(A, Scripted(Submitted=tuple(effects.Publish("t", bytes([i])) for i in range(40))))
        w.add(B, joined(Received=lambda e: (effects.Persist(1, e.data),)))
        w.submit(A, "go", b"")
        run_out(w)
        digests.append(w.digest)
    assert digests[0] == digests[1] != digests[2]


def test_watchers_see_every_event_with_its_effects():
    w = world()
    seen = []
    w.watchers.append(lambda name, event, reaction: seen.append((name, type(event).__name__, len(reaction))))
    w.add(A, joined())
    w.submit(A, "go", b"")
    run_out(w)
    assert seen == [(A, "Started", 1), (A, "Submitted", 0)]


# --- lives, clocks and disks of nodes


def test_a_paused_node_handles_nothing_and_then_all_that_came():
    w = world()
    w.add(A, Scripted(Submitted=(effects.Publish("t", b"x"),)))
    paused = joined(Connected=(effects.SetTimer("x", 500),))
    w.add(B, paused)
    run_out(w, 0)
    w.pause(B)
    w.submit(A, "go", b"")
    run_out(w, 5)
    assert [type(e).__name__ for _, e in paused.seen] == ["Started"]
    w.resume(B)
    run_out(w, 1)
    came = [(at_ms - START_MS, type(e).__name__) for at_ms, e in paused.seen[1:]]
    assert came == [(5_000, "Connected"), (5_000, "Received"), (5_500, "TimerFired")]
    assert w.fired["pause"] == 2


def test_a_node_killed_while_it_starts_starts_later_and_once():
    w = world()
    w.add(A, Scripted())
    first, second = Scripted(), Scripted()
    w.restart(A, first, down_ms=1_000)
    run_out(w, 0)
    w.restart(A, second, down_ms=3_000)
    run_out(w, 10)
    assert first.seen == []
    assert [at_ms for at_ms, _ in second.seen] == [START_MS + 3_000]


def test_a_node_that_is_killed_for_good_stays_down():
    w = world()
    w.add(A, Scripted())
    gone = Scripted(Started=(effects.SetTimer("x", 5_000),))
    w.add(B, gone)
    run_out(w, 1)
    w.kill(B)
    w.kill(B)
    assert w.fired["kill"] == 1, "the dead are not killed again"
    run_out(w, 60)
    assert len(gone.seen) == 2
    assert w.hosts[A].remotes == {}
    again = Scripted()
    w.start(B, again)
    run_out(w, 1)
    assert [type(e).__name__ for _, e in again.seen] == ["Started", "Connected"]


def test_a_node_whose_journal_is_damaged_does_not_start():
    w = world()
    host = w.add(A, Scripted(Started=(effects.Persist(1, b"promise"),)))
    run_out(w, 1)
    host.disk.damage(("record", 0))
    again = Scripted()
    w.restart(A, again)
    run_out(w, 5)
    assert again.seen == []
    assert "damaged at record 1" in w.halted[A]


def test_a_core_is_given_the_time_of_its_own_clock():
    w = world()
    core = Scripted(Submitted=(effects.SetTimer("x", 1_000),))
    host = w.add(A, core)
    host.clock.shift("skew", 30_000)
    w.submit(A, "go", b"")
    run_out(w, 5)
    assert [at_ms - START_MS for at_ms, _ in core.seen] == [30_000, 30_000, 31_000]
    assert w.fired["skew"] == 1


@pytest.mark.parametrize(
    "effect", [effects.PutBlob((b"x",), shared=False), effects.Persist(1, b"x")], ids=["blob", "record"]
)
def test_a_full_disk_stops_the_node_that_writes(effect):
    w = world()
    host = w.add(A, Scripted(Submitted=(effect,)))
    host.disk.is_full = True
    w.submit(A, "go", b"")
    run_out(w, 5)
    assert w.halted == {A: "database or disk is full"}
    assert host.disk.journal == []
    host.disk.is_full = False
    w.start(A, Scripted())
    run_out(w, 1)
    assert w.halted == {}


def test_a_provider_s_damaged_blob_comes_from_somebody_else():
    w = world()
    asker = Scripted()
    w.add(A, asker)
    owners = [w.add(name, Scripted()) for name in (B, C)]
    (wanted,) = {owner.blobs.put((b"data",), shared=True) for owner in owners}
    owners[0].blobs.damage(wanted)
    asker.reactions["Submitted"] = (effects.Fetch(wanted, (B,)),)
    w.submit(A, "go", b"")
    run_out(w, 5)
    (fetched,) = asker.events(events.Fetched)
    assert fetched.data == b"data"
    assert wanted not in owners[0].blobs


def test_dice_of_one_concern_know_nothing_of_another():
    assert world(1).dice("a").random() == world(1).dice("a").random() != world(1).dice("b").random()
    assert world(1).dice("a").random() != world(2).dice("a").random()
