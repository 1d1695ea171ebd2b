"""The runtime: every effect carried out, every answer an event, on a real journal, store and trainer."""

import sys
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from parts import OTHER, REMOTE, LoneNetwork, ScriptedCore, journal_of

from p2pai import jobs
from p2pai.effects import (
    Answer,
    Ask,
    Deliver,
    Discard,
    Fetch,
    Halt,
    Hangup,
    Join,
    Judge,
    Leave,
    Persist,
    Publish,
    PutBlob,
    SetTimer,
    Share,
    Train,
    Verdict,
)
from p2pai.events import (
    Answered,
    Asked,
    Connected,
    Disconnected,
    Fetched,
    Persisted,
    Received,
    Started,
    Submitted,
    TimerFired,
    Trained,
)
from p2pai.primitives import blob as blobs_format
from p2pai.primitives import merkle
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId
from p2pai.shell import runtime as runtime_module
from p2pai.shell.blobs import BlobStore
from p2pai.shell.clock import Clock
from p2pai.shell.runtime import Runtime
from p2pai.shell.store import Store
from p2pai.shell.trainer import Trainer

CHILD = (sys.executable, "-P", str(Path(__file__).with_name("trainer_child.py")))
BUSY_S = 20


@asynccontextmanager
async def running(directory, core, network=None, records=()):
    """Run a node's runtime; yields it."""
    store = Store.open(directory)
    try:
        if records:
            store.write_all([Persist(0, record) for record in records])
        with trio.fail_after(BUSY_S):
            async with Trainer(directory, directory / "blobs", command=CHILD) as trainer:
                runtime = Runtime(
                    store, BlobStore(directory / "blobs"), trainer, Clock(), directory / "models"
                )
                async with trio.open_nursery() as nursery:
                    await nursery.start(runtime.run, core, network or LoneNetwork())
                    yield runtime
                    nursery.cancel_scope.cancel()
    finally:
        store.close()


async def until(condition):
    with trio.fail_after(BUSY_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


def _submit(runtime, text=b""):
    runtime.feed(Submitted("do", text))


async def test_the_first_event_is_the_journal(tmp_path):
    core = ScriptedCore()
    async with running(tmp_path, core, records=[b"one", b"two"]) as runtime:
        runtime.connected(REMOTE)
        runtime.disconnected(REMOTE)
    assert core.seen == [Started((b"one", b"two")), Connected(REMOTE), Disconnected(REMOTE)]


async def test_records_are_on_disk_before_they_are_persisted_and_in_order(tmp_path):
    on_disk = []
    core = ScriptedCore(
        Submitted=[Persist(i, b"record %d" % i) for i in range(50)],
        Persisted=lambda event: on_disk.append(journal_of(tmp_path)) or [],
    )
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        await until(lambda: len(core.of(Persisted)) == 50)
    assert core.of(Persisted) == [Persisted(i) for i in range(50)]
    assert all(b"record %d" % i in records for i, records in enumerate(on_disk))
    assert journal_of(tmp_path) == tuple(b"record %d" % i for i in range(50))


async def test_records_that_wait_share_one_transaction(tmp_path, monkeypatch):
    batches = []
    release = threading.Event()
    write_all = Store.write_all

    def write_slowly(self, writes):
        batches.append(len(writes))
        assert release.wait(BUSY_S)
        write_all(self, writes)

    core = ScriptedCore(Submitted=lambda event: [Persist(int(event.params), event.params)])
    async with running(tmp_path, core) as runtime:
        monkeypatch.setattr(Store, "write_all", write_slowly)
        _submit(runtime, b"0")
        await until(lambda: batches)
        for i in range(1, 20):
            _submit(runtime, b"%d" % i)
        release.set()
        await until(lambda: len(core.of(Persisted)) == 20)
    assert batches == [1, 19]


async def test_a_timer_fires_once_and_setting_it_again_replaces_it(tmp_path):
    core = ScriptedCore(
        Submitted=[
            SetTimer("early", Millis(400_000)),
            SetTimer("late", Millis(60)),
            SetTimer("early", Millis(30)),
            SetTimer("never", Millis(10)),
            SetTimer("never", Millis(400_000)),
        ]
    )
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        await until(lambda: len(core.of(TimerFired)) == 2)
        await trio.sleep(0.1)
    assert core.of(TimerFired) == [TimerFired("early"), TimerFired("late")]


async def test_a_timer_that_sets_itself_again_leaves_time_to_others(tmp_path):
    core = ScriptedCore(
        Started=[SetTimer("tick", Millis(0))], TimerFired=lambda event: [SetTimer(event.name, Millis(0))]
    )
    async with running(tmp_path, core) as runtime:
        await until(lambda: len(core.of(TimerFired)) > 100)
        _submit(runtime)
    assert core.of(Submitted)


async def test_announcements_keep_their_order_and_wait_for_the_network(tmp_path):
    network = LoneNetwork()
    network.gate = trio.Event()
    core = ScriptedCore(
        Started=[Join("t"), Publish("t", b"1"), Hangup(REMOTE, Millis(1500)), Publish("t", b"2"), Leave("t")],
    )
    async with trio.open_nursery() as nursery:

        async def node():
            async with running(tmp_path, core, network):
                await until(lambda: len(network.told) == 5)

        nursery.start_soon(node)
        await until(lambda: core.seen)
        await trio.sleep(0.05)
        assert network.told == []
        network.gate.set()
    assert network.told == [
        ("join", "t"),
        ("publish", "t", b"1"),
        ("hangup", REMOTE, 1.5),
        ("publish", "t", b"2"),
        ("leave", "t"),
    ]


async def test_a_network_that_raises_or_hangs_does_not_stop_the_node(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_module, "ANNOUNCED_S_MAX", 0.05)

    class Faulty(LoneNetwork):
        async def join(self, topic):
            raise RuntimeError("a library's bug")

        async def leave(self, topic):
            await trio.sleep_forever()

    network = Faulty()
    core = ScriptedCore(Started=[Join("a"), Leave("a"), Publish("a", b"after")])
    async with running(tmp_path, core, network):
        await until(lambda: network.told)
    assert network.told == [("publish", "a", b"after")]


async def test_publishing_too_much_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_module, "PUBLISH_QUEUED_MAX", 3)
    network = LoneNetwork()
    core = ScriptedCore(Submitted=[Publish("t", b"%d" % i) for i in range(10)] + [Join("kept")])
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: len(network.told) == 4)
    assert network.told == [*(("publish", "t", b"%d" % i) for i in range(3)), ("join", "kept")]


async def test_a_question_is_answered_or_failed(tmp_path):
    network = LoneNetwork()
    network.answers[b"known"] = b"answer"
    core = ScriptedCore(Submitted=[Ask(1, REMOTE, b"known"), Ask(2, REMOTE, b"unknown")])
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: len(core.of(Answered)) == 2)
    assert sorted(core.of(Answered), key=lambda e: e.request) == [
        Answered(1, REMOTE, b"answer"),
        Answered(2, REMOTE, None),
    ]


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        ([Judge(Verdict.ACCEPT)], Verdict.ACCEPT),
        ([Judge(Verdict.IGNORE)], Verdict.IGNORE),
        ([Judge(Verdict.REJECT, "bad\nnews")], Verdict.REJECT),
        ([], Verdict.IGNORE),
        ([Publish("t", b"x"), Judge(Verdict.ACCEPT), Share(BlobId(Hash32(bytes(32))))], Verdict.ACCEPT),
    ],
)
async def test_a_message_gets_its_verdict_at_once(tmp_path, effects, verdict):
    core = ScriptedCore(Received=effects)
    async with running(tmp_path, core) as runtime:
        assert runtime.received(REMOTE, "t", b"data") is verdict
        assert core.of(Received) == [Received(REMOTE, "t", b"data")]


async def test_a_remotes_question_is_answered_at_once_or_later(tmp_path):
    def react(event):
        if event.body == b"at once":
            return [Answer(event.request, b"now")]
        return [SetTimer(str(event.request), Millis(20))]

    core = ScriptedCore(Asked=react, TimerFired=lambda event: [Answer(int(event.name), b"later")])
    async with running(tmp_path, core) as runtime:
        assert await runtime.asked(REMOTE, b"at once") == b"now"
        assert await runtime.asked(REMOTE, b"in a while") == b"later"
    requests = [event.request for event in core.of(Asked)]
    assert len(set(requests)) == 2


async def test_questions_without_an_answer_end_and_too_many_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_module, "ASKED_S_MAX", 0.1)
    monkeypatch.setattr(runtime_module, "ASKED_COUNT_MAX", 2)
    refusals = []

    async def ask():
        with pytest.raises(Unavailable) as caught:
            await runtime.asked(REMOTE, b"?")
        refusals.append(str(caught.value))

    core = ScriptedCore(Submitted=[Answer(1, b"too late"), Answer(99, b"never asked")])
    async with running(tmp_path, core) as runtime:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        _submit(runtime)
    assert sorted(refusals) == ["no answer in time", "no answer in time", "too many questions at once"]


async def test_blobs_are_stored_and_served_only_when_shared(tmp_path):
    private, shared = (b"secret",), (b"a", b"b")
    private_id, shared_id = blobs_format.blob_id(private), blobs_format.blob_id(shared)
    core = ScriptedCore(
        Started=[PutBlob(private, shared=False), PutBlob(shared, shared=True)], Submitted=[Share(private_id)]
    )
    async with running(tmp_path, core) as runtime:
        assert runtime.manifest(shared_id) == (merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b"))
        assert [runtime.chunk(shared_id, i) for i in (0, 1, 2, -1)] == [b"a", b"b", None, None]
        assert runtime.manifest(private_id) is None
        assert runtime.chunk(private_id, 0) is None
        _submit(runtime)
        assert runtime.chunk(private_id, 0) == b"secret"


async def test_a_fetched_blob_is_stored_shared_and_comes_with_its_bytes(tmp_path):
    network, small, large = LoneNetwork(), (b"x" * 10, b"y"), (b"z" * (1 << 18), b"1")
    names = [blobs_format.blob_id(chunks) for chunks in (small, large)]
    network.blobs[REMOTE] = dict(zip(names, (small, large), strict=True))
    core = ScriptedCore(Submitted=[Fetch(name, (REMOTE,)) for name in names])
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: len(core.of(Fetched)) == 2)
        assert runtime.chunk(names[1], 1) == b"1"
        _submit(runtime)
        await until(lambda: len(core.of(Fetched)) == 4)
    leaves = [tuple(merkle.leaf_hash(c) for c in chunks) for chunks in (small, large)]
    expected = [Fetched(names[0], leaves[0], b"".join(small)), Fetched(names[1], leaves[1], None)]
    for event in core.of(Fetched):
        assert event in expected
    assert len(network.fetched) == 2, "a stored blob is not fetched again"


async def test_large_shared_blobs_are_made_known_until_they_are_discarded(tmp_path):
    network, large, small, hidden = LoneNetwork(), (b"a" * (1 << 20),), (b"b",), (b"c" * (1 << 20),)
    puts = [PutBlob(large, shared=True), PutBlob(small, shared=True), PutBlob(hidden, shared=False)]
    name, _, private = [blobs_format.blob_id(put.chunks) for put in puts]
    core = ScriptedCore(Submitted=puts, Connected=[Share(private)], Disconnected=[Discard(name, ())])
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: list(network.provided) == [name])
        runtime.connected(REMOTE)
        assert list(network.provided) == [name, private]
        runtime.disconnected(REMOTE)
        assert list(network.provided) == [private]
    again = LoneNetwork()
    async with running(tmp_path, ScriptedCore(), again):
        await until(lambda: list(again.provided) == [private])


@pytest.mark.parametrize("first_whole", [True, False])
async def test_a_large_blob_comes_with_its_bytes_to_who_wants_it_whole(tmp_path, first_whole):
    network, large = LoneNetwork(), (b"z" * (1 << 20), b"1")
    name = blobs_format.blob_id(large)
    network.blobs[REMOTE] = {name: large}
    wishes = [Fetch(name, (REMOTE,), whole=whole) for whole in (first_whole, not first_whole)]
    core = ScriptedCore(Submitted=wishes)
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: core.of(Fetched))
        await trio.sleep(0.05)
    assert core.of(Fetched)[0].data == b"".join(large)


OLD = blobs_format.blob_id((b"old",))


async def test_a_discarded_blob_is_gone(tmp_path):
    core = ScriptedCore(Submitted=[PutBlob((b"old",), shared=True), Discard(OLD, ())])
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        assert runtime.chunk(OLD, 0) is None


async def test_a_node_that_halts_says_why(tmp_path):
    core = ScriptedCore(Submitted=[Halt("the snapshot is false")])
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with running(tmp_path, core) as runtime:
            _submit(runtime)
            await trio.sleep_forever()
    assert caught.group_contains(InvalidInput, match="^the snapshot is false$")


async def test_a_blob_is_fetched_once_at_a_time_and_later_providers_are_tried(tmp_path):
    network, chunks = LoneNetwork(), (b"wanted",)
    name = blobs_format.blob_id(chunks)
    network.blobs[OTHER] = {name: chunks}
    core = ScriptedCore(
        Submitted=[Fetch(name, (REMOTE,)), Fetch(name, (REMOTE,))], Connected=[Fetch(name, (OTHER,))]
    )
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: network.fetched)
        runtime.connected(OTHER)
        await until(lambda: core.of(Fetched))
        await trio.sleep(0.1)
    assert core.of(Fetched) == [Fetched(name, (merkle.leaf_hash(b"wanted"),), b"wanted")]
    assert network.fetched == [(name, (REMOTE,)), (name, (REMOTE, OTHER))]


async def test_wanting_a_private_blob_does_not_make_it_public(tmp_path):
    hidden = (b"test data",)
    name = blobs_format.blob_id(hidden)
    core = ScriptedCore(Started=[PutBlob(hidden, shared=False)], Submitted=[Fetch(name, (REMOTE,))])
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        await until(lambda: core.of(Fetched))
        assert core.of(Fetched)[0].data == b"test data"
        assert runtime.manifest(name) is None


async def test_a_failed_fetch_says_so_and_can_be_asked_again(tmp_path):
    network, chunks = LoneNetwork(), (b"late",)
    name = blobs_format.blob_id(chunks)
    core = ScriptedCore(Submitted=[Fetch(name, (PeerId("not base58 !"), REMOTE))])
    async with running(tmp_path, core, network) as runtime:
        _submit(runtime)
        await until(lambda: core.of(Fetched))
        network.blobs[REMOTE] = {name: chunks}
        _submit(runtime)
        await until(lambda: len(core.of(Fetched)) == 2)
    assert [event.data for event in core.of(Fetched)] == [None, b"late"]
    assert network.fetched[0] == (name, (REMOTE,))


async def test_jobs_are_trained_in_the_order_asked(tmp_path):
    requests = [Hash32(bytes([i]) * 32) for i in range(5)]
    job = [jobs.Prepare(f"sleep 0.0{9 - i}", "npz", False, 1, 10) for i in range(5)]
    core = ScriptedCore(Submitted=[Train(r, j) for r, j in zip(requests, job, strict=True)])
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        await until(lambda: len(core.of(Trained)) == 5)
    assert core.of(Trained) == [Trained(r, jobs.Failed(f"slept 0.0{9 - i}")) for i, r in enumerate(requests)]


async def test_a_dead_trainer_fails_its_job_and_the_node_goes_on(tmp_path):
    core = ScriptedCore(
        Submitted=[
            Train(Hash32(bytes([i]) * 32), jobs.Prepare(text, "npz", False, 1, 10))
            for i, text in enumerate(("die", "sleep 0"))
        ]
    )
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        await until(lambda: len(core.of(Trained)) == 2)
    assert [event.result.reason for event in core.of(Trained)] == ["trainer restarted: it died", "slept 0"]


async def test_a_model_is_delivered_in_one_piece(tmp_path):
    chunks = (b"weights", b" and biases")
    name = blobs_format.blob_id(chunks)
    core = ScriptedCore(Submitted=[PutBlob(chunks, shared=False), Deliver(name, "digits.safetensors")])
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        path = tmp_path / "models" / "digits.safetensors"
        await until(path.exists)
        assert path.read_bytes() == b"weights and biases"
        await until(lambda: [p.name for p in path.parent.iterdir()] == [path.name])


@pytest.mark.parametrize("name", ["../x", "/etc/x", "..", ".hidden", "a/b", "a\0b", "", "x" * 129, "a\nb"])
async def test_a_delivery_never_leaves_its_directory(tmp_path, name):
    chunks = (b"evil",)
    blob = blobs_format.blob_id(chunks)
    core = ScriptedCore(Submitted=[PutBlob(chunks, shared=False), Deliver(blob, name), Deliver(blob, "good")])
    node = tmp_path / "node"
    async with running(node, core) as runtime:
        _submit(runtime)
        await until((node / "models" / "good").exists)
        await trio.sleep(0.02)
    assert [p.name for p in (node / "models").iterdir()] == ["good"]
    assert [p.name for p in tmp_path.iterdir()] == ["node"]


async def test_delivering_what_is_not_there_leaves_nothing(tmp_path):
    core = ScriptedCore(Submitted=[Deliver(BlobId(Hash32(bytes(32))), "absent")])
    async with running(tmp_path, core) as runtime:
        _submit(runtime)
        await trio.sleep(0.05)
    assert not (tmp_path / "models" / "absent").exists()


def _failing(event):
    raise AssertionError("two tips")


@pytest.mark.parametrize("kind", ["Received", "Submitted", "Asked", "TimerFired", "Persisted", "Started"])
async def test_a_bug_of_the_core_stops_the_node_wherever_it_shows(tmp_path, kind):
    core = ScriptedCore(**{kind: _failing})
    core.script.setdefault("Connected", [Persist(1, b"r"), SetTimer("t", Millis(1))])
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with running(tmp_path, core) as runtime:
            runtime.connected(REMOTE)
            assert runtime.received(REMOTE, "t", b"") is Verdict.IGNORE
            _submit(runtime)
            with pytest.raises((Unavailable, trio.Cancelled)):
                await runtime.asked(REMOTE, b"")
            await trio.sleep_forever()
    assert caught.group_contains(AssertionError, match="two tips")
    assert type(core.seen[-1]).__name__ == kind, "nothing is fed after a failure"


async def test_a_failing_disk_stops_the_node(tmp_path, monkeypatch):
    def fail(self, writes):
        raise OSError(28, "No space left on device")

    core = ScriptedCore(Submitted=[Persist(1, b"record")])
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with running(tmp_path, core) as runtime:
            monkeypatch.setattr(Store, "write_all", fail)
            _submit(runtime)
            await trio.sleep_forever()
    assert caught.group_contains(OSError, match="No space left")
    assert core.of(Persisted) == []


async def test_questions_of_the_user_pass_through(tmp_path):
    async with running(tmp_path, ScriptedCore()) as runtime:
        assert runtime.query("echo", {"a": 1}) == {"a": 1}
        network = runtime.query("node.network", {})
        assert network["addresses"] == list(LoneNetwork.addresses)
        assert (network["reached_by"], network["tried_by"], network["clock_ahead_ms"]) == (1, 2, None)
        assert (network["inbound"], network["outbound"], network["alone"]) == (2, 1, False)
        with pytest.raises(InvalidInput, match="no parameters"):
            runtime.query("node.network", {"a": 1})
        with pytest.raises(InvalidInput, match="no method"):
            runtime.query("nothing", {})


async def test_a_bug_found_by_a_question_stops_the_node(tmp_path):
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with running(tmp_path, ScriptedCore()) as runtime:
            with pytest.raises(Unavailable, match="stopping"):
                runtime.query("bug", {})
            with pytest.raises(Unavailable, match="stopping"):
                runtime.query("echo", {})
            await trio.sleep_forever()
    assert caught.group_contains(AssertionError, match="state is broken")
