"""The demonstration: eight nodes on loopback train a network on real data, prove it, and are paid.

Every node is an ordinary `p2pai start` process, and the task is submitted by `p2pai task submit`. When it has
ended, the nodes are asked what happened, the criteria are judged, and all processes are ended again. What
they wrote stays, to be looked at with the commands that the summary names.

    python -m testnet.devnet.demo [--directory DIR] [--deadline-s S]
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from p2pai.cli import definition, screen
from p2pai.primitives.errors import P2paiError, Unavailable
from testnet.devnet import criteria
from testnet.devnet.claim import claim
from testnet.devnet.eight import CLIENT, PLANS
from testnet.devnet.launch import Devnet, Node, NodeFailure, wait_for

TASK_FILE: Final = Path(__file__).parents[2] / "examples" / "digits.yaml"
DEADLINE_S: Final = 600.0
SETTLE_S_MAX: Final = 120.0
"""For the last blocks of a task to be judged: more than twice the verification window of 8 blocks of 6 s."""

BLOCKS_ASKED: Final = 1_000
"""More than a chain of this age has."""

ONE_TIP_S_MAX: Final = 60.0
MARKER: Final = "p2pai-demo.json"
"""Stands in directories that a demonstration made, and may therefore replace."""


def main() -> None:
    """Run the demonstration; exit status 0 only when every criterion holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--directory", type=Path, default=Path("demo-run"), help="where the nodes live")
    parser.add_argument("--deadline-s", type=float, default=DEADLINE_S, help="give up after so many seconds")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    directory = options.directory.absolute()
    try:
        with claim(directory, MARKER, "a demonstration"):
            passed = run(directory, options.deadline_s)
    except P2paiError as error:
        screen.complain(f"the demonstration failed: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        screen.complain("interrupted; every process of the demonstration was ended")
        sys.exit(130)
    sys.exit(0 if passed else 1)


def run(directory: Path, deadline_s: float) -> bool:
    """Run the network and the task, show and write the summary; tells whether every criterion held."""
    start_s = time.monotonic()
    with Devnet(directory) as devnet:
        client = launch(devnet, start_s)
        submit(devnet, client, start_s, deadline_s)
        found = collect(devnet, client)
        seconds = time.monotonic() - start_s
    judged = criteria.judge(found)
    path = write_summary(directory, found, judged, seconds)
    show_summary(directory, found, judged, seconds, path)
    return all(c.holds for c in judged)


def launch(devnet: Devnet, start_s: float) -> Node:
    """Start all nodes and wait until their chain grows; returns the client."""
    _tell(start_s, f"starting {len(PLANS)} nodes; logs are in {devnet.directory}")
    nodes = devnet.launch(PLANS)
    _tell(start_s, "all nodes answer; waiting for the chain to grow")
    client = nodes[CLIENT]
    if not wait_for(lambda: _is_alive(devnet, client), 120.0):
        raise NodeFailure(f"no block was mined and approved within 120 s; logs are in {devnet.directory}")
    return client


def submit(devnet: Devnet, client: Node, start_s: float, deadline_s: float) -> None:
    """Submit the task as a user would, and wait while its progress is shown."""
    _tell(start_s, f"p2pai task submit {TASK_FILE.name} --watch")
    task = (*devnet.executable, "task", "submit", str(TASK_FILE), "--watch")
    command = (*task, "--data-dir", str(client.directory))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    try:
        while process.poll() is None:
            devnet.check()
            if time.monotonic() - start_s > deadline_s:
                raise NodeFailure(
                    f"the task took more than {deadline_s:.0f} s; logs are in {devnet.directory}"
                )
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def collect(devnet: Devnet, client: Node) -> criteria.Findings:
    """Wait until the task's blocks are judged and all nodes agree, then ask for everything."""
    ordered = definition.load(TASK_FILE)
    fee, name = ordered.fee, ordered.definition.name
    ours = [t for t in client.call("task.list") if t["name"] == name and t["fee"] == fee]
    if len(ours) != 1:
        raise NodeFailure(f"the task never reached the chain; see {client.log}")
    task = ours[0]["task"]
    wait_for(lambda: all(_is_judged(b) for b in _blocks(devnet, client, task)), SETTLE_S_MAX, 1.0)
    tips = _agreed_tips(devnet)
    last = client.call("task.progress", task=task)
    model = client.directory / (last["model_path"] or "absent")
    return criteria.Findings(
        task=next(t for t in client.call("task.list") if t["task"] == task),
        fee=fee,
        payouts=tuple(last.get("payouts") or ()),
        blocks=tuple(client.call("block.show", block=b["hash"]) for b in _blocks(devnet, client, task)),
        supply=client.call("supply"),
        keys=client.call("dkg.transcript", task=task),
        tips=tips,
        model=str(model) if model.is_file() else "",
    )


def write_summary(
    directory: Path, found: criteria.Findings, judged: tuple[criteria.Criterion, ...], seconds: float
) -> Path:
    """Write `summary.json`; returns its path."""
    path = directory / "summary.json"
    summary = {
        "passed": all(c.holds for c in judged),
        "seconds": round(seconds, 1),
        "criteria": [asdict(c) for c in judged],
        **asdict(found),
    }
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return path


def show_summary(
    directory: Path,
    found: criteria.Findings,
    judged: tuple[criteria.Criterion, ...],
    seconds: float,
    path: Path,
) -> None:
    """Print what was found, what was judged, and how to look further."""
    blocks = screen.table(
        ("height>", "block", "task", "miner", "iteration>", "approvals>"),
        [
            (
                b["height"],
                screen.short(b["hash"]),
                b["task_name"],
                screen.short(b["miner"]),
                b["iteration"],
                _share(b),
            )
            for b in sorted(found.blocks, key=lambda b: int(b["height"]))
        ],
        title="Blocks mined by training, from the submission to the payment",
    )
    paid = screen.table(
        ("paid to", "as", "amount>"),
        [(screen.short(p["address"]), p["role"], screen.coins(p["atoms"])) for p in found.payouts],
        title="Payments",
    )
    verdicts = screen.table(
        ("", "criterion", "found"),
        [("yes" if c.holds else "NO", c.name, c.figure) for c in judged],
        title=f"Criteria, after {seconds:.0f} s",
    )
    screen.show(screen.stack(blocks, paid, verdicts))
    for line in _hints(directory, found, judged, path):
        screen.show_line(line)


def _hints(
    directory: Path, found: criteria.Findings, judged: tuple[criteria.Criterion, ...], path: Path
) -> list[str]:
    lines = ["", f"Summary: {path}"]
    failed = [c for c in judged if not c.holds]
    if failed:
        return [*lines, *(f"Failed: {c.name} ({c.figure})" for c in failed), f"Logs: {directory}/*.log"]
    verifier = directory / "committee-1"
    lines.append(f"Look at what is left, with nothing running:  export P2PAI_DATA_DIR={verifier}")
    block = found.blocks[0]["hash"][:12]
    task = found.task["task"][:12]
    shown = ("block list", "task list", f"dkg verify {task}", f"replay {block}")
    return [*lines, *(f"  p2pai {command}" for command in shown)]


def _share(block: dict[str, Any]) -> str:
    return f"{criteria.others(block)}/{block['verifiers']}"


def _is_alive(devnet: Devnet, client: Node) -> bool:
    """Whether blocks are mined, and the verifiers have their trainers ready."""
    devnet.check()
    with suppress(Unavailable):
        return any(_is_judged(block) for block in client.call("block.list"))
    return False


def _blocks(devnet: Devnet, client: Node, task: str) -> list[dict[str, Any]]:
    """Return the blocks from the one with the task to the one that pays it, whichever task mined them."""
    devnet.check()
    life = [stage["height"] for stage in client.call("task.show", task=task)["history"]]
    blocks = client.call("block.list", count=BLOCKS_ASKED)
    return [b for b in blocks if life[0] <= b["height"] <= life[-1]]


def _is_judged(block: dict[str, Any]) -> bool:
    return bool(block["settled"]) or block["approvals"] == block["verifiers"] > 0


def _agreed_tips(devnet: Devnet) -> dict[str, str]:
    """Ask for the nodes' tips until they are one; the last answers, since the next block comes soon."""
    answers: list[dict[str, str]] = []

    def agree() -> bool:
        answers[:] = [_tips(devnet)]
        return len(dict.fromkeys(answers[0].values())) == 1

    wait_for(agree, ONE_TIP_S_MAX)
    return answers[0]


def _tips(devnet: Devnet) -> dict[str, str]:
    devnet.check()
    return {node.plan.name: node.call("node.status")["tip"] for node in devnet.nodes}


def _tell(start_s: float, line: str) -> None:
    screen.show_line(f"[{time.monotonic() - start_s:6.1f} s] {line}")


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
