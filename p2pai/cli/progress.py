"""Live progress of a task: a picture that renews itself on a terminal, plain lines elsewhere.

`task.progress` is asked again and again until the task has ended. On a terminal the whole answer is drawn
anew; in a pipe or a log file only what changed is told, one line each.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.live import Live

from p2pai.cli import screen
from p2pai.cli.access import Source
from p2pai.cli.block import approvals, render_list
from p2pai.primitives.errors import Unavailable

POLL_S: Final = 0.5
LINE_S: Final = 5.0
"""Between two plain lines on how the miners get on."""

BLOCKS_SHOWN: Final = 8
MODEL_S_MAX: Final = 30.0
"""From the payment until the model is delivered to who ordered it."""

SILENCE_S_MAX: Final = 60.0
"""A node that was there and doesn't answer for this long is gone."""

ENDS: Final = ("PAID", "REVOKED", "EXPIRED", "FAILED", "MALFORMED")
"""States that a task never leaves. Source: PROTOCOL section 5."""

Answer = dict[str, Any]


def watch(node: Source, task: str, data_dir: Path, *, is_ours: bool = False, quiet: bool = False) -> Answer:
    """Show a task's progress until it has ended; returns the last answer of `task.progress`.

    Args:
      node: where to ask.
      task: the task's id in hex, or its beginning.
      data_dir: the node's data directory, where a model is delivered.
      is_ours: this node ordered the task, so that its model is waited for.
      quiet: show nothing, just wait.
    """
    answers = _answers(node, task, data_dir, is_ours=is_ours)
    if quiet:
        return _last(answers, lambda _: None)
    if not sys.stdout.isatty():
        return _last(answers, Lines(time.monotonic()).tell)
    with Live(console=Console(highlight=False), refresh_per_second=4) as live:
        return _last(answers, lambda answer: live.update(render(answer)))


def is_paid(answer: Answer) -> bool:
    """Tell whether the task was done and its fee paid out."""
    return str(answer["state"]).upper() == "PAID"


def has_ended(answer: Answer) -> bool:
    """Tell whether the task has reached a state that it never leaves."""
    return str(answer["state"]).upper() in ENDS


def render(answer: Answer) -> RenderableType:
    """Draw an answer of `task.progress`."""
    head = f"Task {screen.short(answer.get('task'))}  {answer['state']}  height {answer['height']}"
    return screen.stack(
        screen.clean(f"{head}  message history: {answer['slots']} slots"),
        _miners(answer["miners"]) if answer["miners"] else None,
        render_list(answer["blocks"][:BLOCKS_SHOWN]) if answer["blocks"] else None,
        render_payouts(answer["payouts"]) if answer.get("payouts") else None,
        screen.clean(f"Model: {answer['model_path']}") if answer.get("model_path") else None,
    )


def render_payouts(payouts: list[Answer]) -> RenderableType:
    """Draw who was paid what for a task."""
    rows = [(screen.short(p["address"]), p["role"], screen.coins(p["atoms"])) for p in payouts]
    total = sum(p["atoms"] for p in payouts)
    return screen.table(("paid to", "as", "amount>"), [*rows, ("sum", "", screen.coins(total))])


class Lines:
    """Tells in plain lines what changed between two answers."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._state = ""
        self._approvals: dict[str, str] = {}
        self._miner_lines: dict[str, str] = {}
        self._miners_told_s = start_s
        self._finals: tuple[bool, bool] = (False, False)

    def tell(self, answer: Answer) -> None:
        """Print the news in `answer`."""
        now_s = time.monotonic()
        for line in self.news(answer, now_s):
            screen.show_line(f"[{now_s - self._start_s:6.1f} s] {line}")

    def news(self, answer: Answer, now_s: float) -> list[str]:
        """Return what `answer` says that no earlier answer said."""
        lines = []
        if answer["state"] != self._state:
            self._state = answer["state"]
            lines.append(
                f"task {screen.short(answer.get('task'))} is {self._state} at height {answer['height']}"
            )
        if now_s - self._miners_told_s >= LINE_S:
            self._miners_told_s = now_s
            lines.extend(self._miner_news(answer["miners"]))
        lines.extend(self._block_news(answer["blocks"]))
        lines.extend(self._final_news(answer))
        return lines

    def _miner_news(self, miners: list[Answer]) -> Iterator[str]:
        for miner in miners:
            line = _miner_line(miner)
            if self._miner_lines.get(miner["address"]) != line:
                self._miner_lines[miner["address"]] = line
                yield line

    def _block_news(self, blocks: list[Answer]) -> Iterator[str]:
        for block in reversed(blocks):
            count = approvals(block)
            if self._approvals.get(block["hash"]) == count:
                continue
            known, self._approvals[block["hash"]] = block["hash"] in self._approvals, count
            name = f"block {block['height']} {screen.short(block['hash'])}"
            if known:
                yield f"{name} approved by {count}"
            else:
                yield f"{name} mined by {screen.short(block['miner'])} from iteration {block['iteration']}"

    def _final_news(self, answer: Answer) -> Iterator[str]:
        told, self._finals = self._finals, (bool(answer.get("payouts")), bool(answer.get("model_path")))
        if self._finals[0] and not told[0]:
            for paid in answer["payouts"]:
                to = f"{screen.short(paid['address'])} ({paid['role']})"
                yield f"{screen.coins(paid['atoms'])} paid to {to}"
        if self._finals[1] and not told[1]:
            yield f"model delivered: {answer['model_path']}"


def _answers(node: Source, task: str, data_dir: Path, *, is_ours: bool) -> Iterator[Answer]:
    heard_s, ended_s = time.monotonic(), math.inf
    while True:
        try:
            answer: Answer = {"task": task, **node.call("task.progress", {"task": task})}
            heard_s = time.monotonic()
        except Unavailable:
            # A busy node may miss one question; only lasting silence means that it is gone.
            if time.monotonic() - heard_s > SILENCE_S_MAX:
                raise
        else:
            if answer["model_path"]:
                answer["model_path"] = str(data_dir / answer["model_path"])
            yield answer
            ended_s = min(ended_s, heard_s) if has_ended(answer) else math.inf
            if _is_complete(answer, is_ours=is_ours) or heard_s - ended_s > MODEL_S_MAX:
                return
        time.sleep(POLL_S)


def _is_complete(answer: Answer, *, is_ours: bool) -> bool:
    # The fee is paid some moments before the model is written.
    waits = is_ours and is_paid(answer) and not answer["model_path"]
    return has_ended(answer) and not waits


def _last(answers: Iterator[Answer], each: Callable[[Answer], None]) -> Answer:
    answer: Answer = {}
    for answer in answers:  # noqa: B007
        each(answer)
    return answer


def _miners(miners: list[Answer]) -> RenderableType:
    rows = [
        (
            screen.short(m["address"]),
            _of(m["iteration"], m["iterations"]),
            _of(m["epoch"], m["epochs"]),
            *(screen.fraction(value) for value in m["metrics"].values()),
        )
        for m in miners
    ]
    names = [f"{name}>" for name in miners[0]["metrics"]]
    return screen.table(("miner", "iteration>", "epoch>", *names), rows)


def _miner_line(m: Answer) -> str:
    scores = ", ".join(f"{name} {screen.fraction(value)}" for name, value in m["metrics"].items())
    place = f"iteration {_of(m['iteration'], m['iterations'])}, epoch {_of(m['epoch'], m['epochs'])}"
    return f"miner {screen.short(m['address'])}: {place}, {scores}"


def _of(done: int, total: int | None) -> str:
    """Show how many of how many; a predefined task goes on without end."""
    return f"{done}/{total}" if total else str(done)
