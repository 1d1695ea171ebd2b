"""The trainer: real child processes that die, hang, print and answer nonsense."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from p2pai import jobs
from p2pai.primitives.ids import Hash32
from p2pai.shell import trainer as trainer_module
from p2pai.shell import trainer_process
from p2pai.shell.blobs import BlobStore
from p2pai.shell.trainer import DEADLINES_S, Trainer

CHILD = (sys.executable, "-P", str(Path(__file__).with_name("trainer_child.py")))
BUSY_S = 20


def _trainer(directory, **deadlines):
    limits = {**DEADLINES_S, **{getattr(jobs, kind): seconds for kind, seconds in deadlines.items()}}
    return Trainer(directory, directory / "blobs", command=CHILD, deadlines_s=limits)


def _do(instruction):
    return jobs.Prepare(instruction, "npz", False, 1, 10)


def _open(session):
    return jobs.Open(session, b"", Hash32(bytes(32)), (), None)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that init has not reaped yet answers signals.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def _wait_until_gone(pid):
    with trio.fail_after(BUSY_S):
        while _is_alive(pid):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_the_child_starts_with_the_first_job_and_ends_with_the_trainer(tmp_path):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            assert trainer.pid is None
            assert await trainer.run(_do("sleep 0")) == jobs.Failed("slept 0")
            pid = trainer.pid
            assert _is_alive(pid)
            await trainer.run(_do("sleep 0"))
            assert trainer.pid == pid
        await _wait_until_gone(pid)


async def test_jobs_run_in_the_order_asked(tmp_path):
    done = []

    async def run(text):
        done.append((await trainer.run(_do(text))).reason)

    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer, trio.open_nursery() as nursery:
            for i in range(6):
                nursery.start_soon(run, f"sleep 0.00{6 - i}")
                await trio.testing.wait_all_tasks_blocked()
    assert done == [f"slept 0.00{6 - i}" for i in range(6)]


@pytest.mark.parametrize("instruction", ["die", "crash", "nonsense"])
async def test_a_child_that_dies_or_talks_nonsense_fails_its_job_and_the_next_one_works(
    tmp_path, instruction
):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            failed = await trainer.run(_do(instruction))
            assert isinstance(failed, jobs.Failed)
            assert failed.reason.startswith("trainer restarted")
            assert trainer.pid is None
            assert await trainer.run(_do("sleep 0")) == jobs.Failed("slept 0")
    if instruction == "crash":
        assert "a bug in the worker" in (tmp_path / "trainer.log").read_text()


async def test_a_child_killed_in_the_middle_of_a_job_fails_it_and_the_next_one_works(tmp_path):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer, trio.open_nursery() as nursery:
            await trainer.run(_do("sleep 0"))
            killed = trainer.pid
            nursery.start_soon(_kill_soon, killed)
            failed = await trainer.run(_do("sleep 60"))
            assert failed == jobs.Failed("trainer restarted: it died")
            assert await trainer.run(_do("sleep 0")) == jobs.Failed("slept 0")
            assert trainer.pid != killed


async def _kill_soon(pid):
    await trio.sleep(0.2)
    os.kill(pid, signal.SIGKILL)


async def test_overrunning_a_deadline_kills_the_child_with_all_it_started(tmp_path):
    note = tmp_path / "grandchild"
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path, Prepare=1.5) as trainer:
            await trainer.run(_do("sleep 0"))
            child = trainer.pid
            failed = await trainer.run(_do(f"fork {note}"))
            assert failed == jobs.Failed("trainer restarted: Prepare took more than 1.5 s")
            await _wait_until_gone(child)
            await _wait_until_gone(int(note.read_text()))
            assert await trainer.run(_do("sleep 0")) == jobs.Failed("slept 0")


async def test_sessions_are_lost_with_their_child_until_opened_again(tmp_path):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            await trainer.run(_open("a"))
            assert await trainer.run(jobs.Validate("a", ())) == jobs.Validated((1,))
            await trainer.run(_do("die"))
            lost = await trainer.run(jobs.Validate("a", ()))
            assert lost == jobs.Failed("trainer restarted; session a is lost, open it again")
            assert trainer.pid is None, "a job of a lost session starts no child"
            assert await trainer.run(jobs.Validate("never opened", ())) == jobs.Validated(())
            await trainer.run(_open("a"))
            assert await trainer.run(jobs.Validate("a", ())) == jobs.Validated((1,))


async def test_a_child_that_died_between_two_jobs_costs_only_its_sessions(tmp_path):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            await trainer.run(_open("a"))
            os.kill(trainer.pid, signal.SIGKILL)
            await _wait_until_gone(trainer.pid)
            assert await trainer.run(_do("sleep 0")) == jobs.Failed("slept 0")
            assert isinstance(await trainer.run(jobs.Validate("a", ())), jobs.Failed)


async def test_a_cancelled_job_does_not_leave_its_answer_to_the_next(tmp_path):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            await trainer.run(_do("sleep 0"))
            with trio.move_on_after(0.1) as scope:
                await trainer.run(_do("sleep 0.3"))
            assert scope.cancelled_caught
            assert await trainer.run(_do("sleep 0.01")) == jobs.Failed("slept 0.01")


async def test_what_is_printed_goes_to_the_log_and_stdin_is_empty(tmp_path):
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            assert await trainer.run(_do("print hello")) == jobs.Failed("read ''")
    log = (tmp_path / "trainer.log").read_text()
    assert log.splitlines() == ["hello", "written to descriptor one", "from a grandchild"]
    assert (tmp_path / "trainer.log").stat().st_mode & 0o077 == 0


async def test_the_child_is_limited_and_knows_no_secrets(tmp_path, monkeypatch):
    for name in ("HTTPS_PROXY", "all_proxy", "SOME_TOKEN", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, "http://example.invalid")
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            told = json.loads((await trainer.run(_do("tell"))).reason)
            limit_gib = trainer_process.ADDRESS_SPACE_BYTES_MAX >> 30
            assert await trainer.run(_do(f"allocate {limit_gib + 1}")) == jobs.Failed("no memory")
            assert trainer.pid == told["pid"]
    assert told["sid"] == told["pid"] != os.getpid()
    assert told["nice"] >= trainer_process.NICENESS
    assert told["as"] == [trainer_process.ADDRESS_SPACE_BYTES_MAX] * 2
    environment = told["environment"]
    assert "example.invalid" not in str(environment)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "--xla_cpu_multi_thread_eigen=false" in environment["XLA_FLAGS"]


async def test_node_and_child_share_the_blobs(tmp_path):
    blobs = BlobStore(tmp_path / "blobs")
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            stored = await trainer.run(_do("put from the child"))
            assert blobs.get(stored.file) == (b"from the child",)
            assert blobs.is_shared(stored.file)
            name = blobs.put([b"from the node"], shared=False)
            assert await trainer.run(_do(f"get {name.hex()}")) == jobs.Failed("from the node")


async def test_a_command_that_can_not_start_fails_the_job(tmp_path):
    with trio.fail_after(BUSY_S):
        async with Trainer(tmp_path, tmp_path / "blobs", command=("/nonexistent",)) as trainer:
            failed = await trainer.run(_do("sleep 0"))
    assert failed == jobs.Failed("trainer restarted: it can't be started: No such file or directory")


async def test_a_log_that_grew_too_long_is_started_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "LOG_BYTES_MAX", 10)
    (tmp_path / "trainer.log").write_text("old lines of another time\n")
    with trio.fail_after(BUSY_S):
        async with _trainer(tmp_path) as trainer:
            await trainer.run(_do("print new"))
    assert (tmp_path / "trainer.log").read_text().startswith("new\n")


NODE = """
import sys, trio
from pathlib import Path
from p2pai import jobs
from p2pai.shell.trainer import Trainer
async def main():
    directory = Path(sys.argv[1])
    async with Trainer(directory, directory / "blobs", command=sys.argv[2:]) as trainer:
        await trainer.run(jobs.Prepare("sleep 0", "npz", False, 1, 10))
        print(trainer.pid, file=sys.stderr, flush=True)
        await trainer.run(jobs.Prepare("sleep 60", "npz", False, 1, 10))
trio.run(main)
"""


async def test_the_child_dies_with_a_node_killed_by_9(tmp_path):
    node = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", NODE, str(tmp_path), *CHILD],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        with node.stderr:
            child = int(node.stderr.readline())
        assert _is_alive(child)
    finally:
        node.kill()
        node.wait(10)
    await _wait_until_gone(child)


def test_a_child_whose_node_is_gone_already_ends_at_once(tmp_path):
    started_s = time.monotonic()
    child = subprocess.run(
        [*CHILD, "--blobs", str(tmp_path), "--parent", "1"],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=BUSY_S,
        check=False,
    )
    assert child.returncode == 0
    assert time.monotonic() - started_s < BUSY_S


def test_every_kind_of_job_has_a_deadline():
    assert set(DEADLINES_S) == set(jobs.Job.__args__)
    assert all(seconds > 0 for seconds in DEADLINES_S.values())


async def test_the_real_worker_runs_under_the_limits(tmp_path):
    data = Path(__file__).parents[2] / "p2pai" / "data" / "digits.npz"
    with trio.fail_after(120):
        async with Trainer(tmp_path, tmp_path / "blobs") as trainer:
            prepared = await trainer.run(jobs.Prepare(str(data), "npz", False, 30, 10))
            missing = await trainer.run(jobs.Prepare("/nonexistent.npz", "npz", False, 30, 10))
    assert isinstance(prepared, jobs.Prepared), prepared
    assert (prepared.samples, prepared.features, prepared.classes) == (1797, 64, 10)
    blobs = BlobStore(tmp_path / "blobs")
    assert sum(len(blobs.get(fragment)) for fragment in prepared.fragments) == 60
    assert isinstance(missing, jobs.Failed)
