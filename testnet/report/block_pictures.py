"""Blocks in pictures: how they spread, which were left, who approved them, what mining lost."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from testnet.measures import MEASURES, block_delays_ms, delays_ms, losses, mining, pairs, quantile, shown
from testnet.outcome import Block, Mining, Outcome
from testnet.report.canvas import GRID, MUTED, PAPER, SERIES, Axes, label, make_logarithmic, set_scale
from testnet.report.picture import Mark, Picture, Row, Table

MINERS_SHOWN: Final = 6
"""Have a colour of their own; the others share one."""

ROWS_MAX: Final = 200
"""Of a table."""

LEFT_BELOW: Final = 0.35
"""So much lower than its height a block is drawn that was left: else it hides behind the one that stayed."""


def spread(outcome: Outcome) -> Picture:
    """Show how long blocks take to the other nodes, all together."""
    delays, wanted = sorted(delays_ms(outcome)), pairs(outcome)
    if not delays:
        return Picture("No block reached a second node.", None)

    def draw(axes: Axes) -> None:
        shares = [(i + 1) / wanted for i in range(len(delays))]
        axes.step([0, *delays], [0, *shares], where="post", color=SERIES[0])
        for share in (0.5, 0.9, 0.99):
            needed = math.ceil(share * wanted)
            if needed <= len(delays):
                axes.plot([delays[needed - 1]], [share], "o", color=SERIES[1], markersize=5)
        _scale_delays(axes, delays)
        axes.set_ylim(0, 1.03)

    middle, most = quantile(delays, 0.5), quantile(delays, 0.99)
    caption = (
        f"Half of the other nodes had a block {middle} ms after the first one, 99 % of those that came to "
        f"have it after {most} ms; {shown(MEASURES['reached'], len(delays) / wanted)} of all pairs of block "
        "and node came together. Dots: 50, 90 and 99 % of all nodes. A node that was down counts from when "
        "the block was found."
    )
    rows = [
        (f"{100 * q:g} %", f"{quantile(delays, q)}") for q in (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
    ]
    marks = (Mark("share of all nodes", 0, "line"), Mark("50, 90 and 99 % of the nodes", 1, "dot"))
    return Picture(caption, draw, marks, Table(("of those that had it", "within ms>"), tuple(rows)))


def _is_wide(delays: Sequence[int]) -> bool:
    return max(delays) > 20 * max(1, quantile(delays, 0.5) or 1)


def _scale_delays(axes: Axes, delays: Sequence[int]) -> None:
    """Name the axes of delays: logarithmic, and saying so, where some are far longer than most."""
    set_scale(axes, "time after the first node had the block (ms)", "nodes that have it", percent_y=True)
    if _is_wide(delays):
        make_logarithmic(axes, "x")
        axes.set_xlim(max(1, min(delays)) * 0.8, max(delays) * 1.2)
    else:
        axes.set_xlim(0, max(delays) * 1.05)


def spread_over_time(outcome: Outcome) -> Picture:
    """Show how long each block took to half and to nearly all other nodes."""
    blocks = [block for block in sorted(outcome.blocks, key=lambda b: b.found_ms) if block_delays_ms(block)]
    if not blocks:
        return Picture("No block reached a second node.", None)
    times = [block.found_ms / 1000 for block in blocks]
    series = [
        (0.5, "half of the nodes", 0, "o"),
        (0.9, "90 %", 1, "s"),
        (1.0, "all that came to have it", 2, "^"),
    ]
    values = {q: [quantile(block_delays_ms(block), q) or 0 for block in blocks] for q, *_ in series}

    def draw(axes: Axes) -> None:
        size = 4 if len(blocks) < 100 else 2
        for q, _, colour, marker in series:
            axes.plot(
                times, values[q], marker, color=SERIES[colour], markersize=size, linestyle="-", linewidth=0.6
            )
        set_scale(axes, "time (s)", "delay (ms)")
        if _is_wide([int(v) for v in values[1.0]]):
            make_logarithmic(axes, "y")
        else:
            axes.set_ylim(0)
        _shade(axes, outcome)

    worst = max(range(len(blocks)), key=lambda i: values[1.0][i])
    caption = (
        "Block by block, from when it was found. The slowest was the block at height "
        f"{blocks[worst].height}, found at {times[worst]:.1f} s: the last node had it {values[1.0][worst]} "
        f"ms later.{' Shaded: faults of the scenario.' if outcome.planned else ''}"
    )
    rows = [
        (
            b.height,
            f"{t:.1f}",
            *(values[q][i] for q, *_ in series),
            f"{len(b.seen_ms)} of {len(outcome.nodes)}",
        )
        for i, (b, t) in enumerate(zip(blocks, times, strict=True))
    ]
    headings = ("height>", "found s>", "50 % ms>", "90 % ms>", "last ms>", "nodes>")
    shapes = ("dot", "square", "triangle")
    marks = tuple(Mark(what, c, shape) for (_, what, c, _), shape in zip(series, shapes, strict=True))
    return Picture(caption, draw, marks, Table(headings, tuple(rows[:ROWS_MAX])))


def _shade(axes: Axes, outcome: Outcome) -> None:
    """Mark when the scenario's faults are planned for."""
    for planned in outcome.planned:
        if not planned.is_adversary:
            until_ms = planned.until_ms or outcome.head.healed_ms or outcome.head.length_ms
            axes.axvspan(planned.from_ms / 1000, until_ms / 1000, color=GRID, alpha=0.35, linewidth=0)


def forks(outcome: Outcome) -> Picture:
    """Show the tree of blocks."""
    blocks = outcome.blocks
    if not blocks:
        return Picture("There is no block.", None)
    miners = [name for name, _ in Counter(block.miner for block in blocks).most_common()]
    shown_miners = sorted(miners[:MINERS_SHOWN])
    colours = {name: i for i, name in enumerate(shown_miners)}
    left = [block for block in blocks if not block.is_best]

    def draw(axes: Axes) -> None:
        places = {block.hash: _place(block) for block in blocks}
        size = 5.5 if len(blocks) < 80 else 2.5
        for block in blocks:
            x, y = places[block.hash]
            if block.prev in places:
                px, py = places[block.prev]
                style = "-" if block.is_best else (0, (2, 2))
                axes.plot([px, x], [py, y], color=MUTED, linewidth=0.8, linestyle=style, zorder=1)
        for block in blocks:
            colour = SERIES[colours.get(block.miner, MINERS_SHOWN)]
            face = colour if block.is_best else PAPER
            axes.plot(*places[block.hash], "o", color=colour, markerfacecolor=face, markersize=size, zorder=2)
        set_scale(axes, "time (s)", "height", whole_y=True)
        _shade(axes, outcome)

    reorganised = len(outcome.reorganisations)
    deepest = max((r.depth for r in outcome.reorganisations), default=0)
    depth = f", at most {deepest} at once" if deepest else ""
    caption = (
        f"{len(blocks) - len(left)} blocks are on the best chain, {len(left)} {_were(len(left))} left "
        f"({shown(MEASURES['left'], len(left) / len(blocks))}). Nodes left blocks for others {reorganised} "
        f"{'time' if reorganised == 1 else 'times'}{depth}. A hollow dot is a block that was left, drawn a "
        "little below its height."
    )
    marks = [Mark(label(name), colour, "dot") for name, colour in colours.items()]
    marks += [Mark("other miners", MINERS_SHOWN, "dot")] if len(miners) > MINERS_SHOWN else []
    rows = [
        (
            b.height,
            f"{b.found_ms / 1000:.1f}",
            b.miner,
            b.hash[:12],
            f"{len(b.seen_ms)} of {len(outcome.nodes)}",
        )
        for b in left
    ]
    table = Table(("left at height>", "found s>", "miner", "hash", "nodes>"), tuple(rows[:ROWS_MAX]))
    ring = Mark("left", None, "ring")
    return Picture(caption, draw, (*marks, ring), table if rows else None, 270)


def _place(block: Block) -> tuple[float, float]:
    return block.found_ms / 1000, block.height - (0 if block.is_best else LEFT_BELOW)


def approvals(outcome: Outcome) -> Picture:
    """Show what verifiers said of the best chain's blocks."""
    best = [block for block in outcome.blocks if block.is_best]
    if not any(block.drawn for block in best):
        return Picture("No verifier was drawn.", None)
    heights = [block.height for block in best]
    counted = [_counts(block) for block in best]
    names = ("approved, on the chain", "approved, not on the chain", "disapproved", "not heard of")

    def draw(axes: Axes) -> None:
        bottom = [0] * len(best)
        for i, (colour, hatch) in enumerate(((0, ""), (2, "//"), (1, "xx"), (None, ""))):
            values = [counts[i] for counts in counted]
            face = PAPER if colour is None else SERIES[colour]
            axes.bar(
                heights, values, 0.8, bottom, color=face, hatch=hatch,
                edgecolor=MUTED if colour is None else PAPER, linewidth=0.5 if len(best) < 80 else 0,
            )  # fmt: skip
            bottom = [b + v for b, v in zip(bottom, values, strict=True)]
        set_scale(axes, "height", "verifiers", whole_x=True, whole_y=True)
        axes.set_xlim(min(heights) - 0.8, max(heights) + 0.8)
        axes.grid(visible=False, axis="x")

    totals = [sum(counts[i] for counts in counted) for i in range(4)]
    waits = [
        approval.at_ms - block.found_ms
        for block in best
        for approval in block.approvals
        if approval.at_ms is not None and approval.is_approving
    ]
    middle = quantile(waits, 0.5)
    wait = (
        "" if middle is None else f"Half of the approvals came within {middle / 1000:.1f} s of their block. "
    )
    caption = (
        f"Of {sum(totals)} verdicts due, {totals[0]} approve and stand in later blocks, {totals[1]} approve "
        f"and do not, {totals[2]} disapprove, {totals[3]} were never heard of. {wait}The last blocks are "
        "too young for theirs."
    )
    shapes = ("box", "striped", "crossed", "hollow")
    marks = tuple(Mark(n, c, s) for n, c, s in zip(names, (0, 2, 1, None), shapes, strict=True))
    rows = tuple((h, *counts) for h, counts in zip(heights, counted, strict=True))
    return Picture(caption, draw, marks, Table(("height>", *(f"{n}>" for n in names)), rows[:ROWS_MAX]))


def _counts(block: Block) -> tuple[int, int, int, int]:
    on = sum(a.is_approving and a.height is not None for a in block.approvals)
    off = sum(a.is_approving and a.height is None for a in block.approvals)
    against = sum(not a.is_approving for a in block.approvals)
    return on, off, against, max(0, block.drawn - on - off - against)


def mined(outcome: Outcome) -> Picture:
    """Show what became of the nonces that iterations earned."""
    miners = [node for node in outcome.nodes if node.mining is not None and node.mining.earned]
    known = losses(outcome)
    if not miners or known is None:
        return Picture("Nobody earned a nonce.", None)
    names = ("tried", "stale", "no commitment", "crowded out", "waiting")
    parts = [_parts(node.mining) for node in miners if node.mining]

    def draw(axes: Axes) -> None:
        left = [0.0] * len(miners)
        for i, (colour, hatch) in enumerate(((0, ""), (1, "//"), (3, "--"), (4, "xx"), (None, ""))):
            shares = [100 * part[i] / sum(part) for part in parts]
            face = PAPER if colour is None else SERIES[colour]
            axes.barh(
                range(len(miners)), shares, 0.7, left, color=face, hatch=hatch,
                edgecolor=MUTED if colour is None else PAPER, linewidth=0.5,
            )  # fmt: skip
            left = [a + b for a, b in zip(left, shares, strict=True)]
        set_scale(axes, "share of the nonces that its iterations earned (%)", "")
        axes.set_yticks(range(len(miners)), [label(node.name) for node in miners])
        axes.set_xlim(0, 100)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")

    total = mining(outcome)
    lost = "" if known.total is None else f" Together {100 * known.total:.1f} % of mining was lost."
    blocks = (
        "No block was found by them."
        if known.overtaken is None
        else f"Of {total.found} blocks found {total.late} {_were(total.late)} overtaken before they could be "
        f"sent; with forks, {100 * known.overtaken:.1f} % came to nothing."
    )
    caption = (
        f"Of the nonces that {total.earned} iterations of honest miners earned, {100 * known.untried:.1f} % "
        f"were not tried in time: {100 * known.stale:.1f} % because the tip had moved since the commitment. "
        f"{blocks}{lost}"
    )
    shapes = ("box", "striped", "lined", "crossed", "hollow")
    marks = tuple(Mark(n, c, s) for n, c, s in zip(names, (0, 1, 3, 4, None), shapes, strict=True))
    rows: list[Row] = [
        (node.name, *part, node.mining.found, node.mining.late, node.mining.sent)
        for node, part in zip(miners, parts, strict=True)
        if node.mining
    ]
    headings = ("miner", *(f"{n}>" for n in names), "found>", "late>", "sent>")
    return Picture(caption, draw, marks, Table(headings, tuple(rows)), 60 + 22 * len(miners))


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _parts(known: Mining) -> tuple[int, ...]:
    ends = (known.tried, known.stale, known.uncommitted, known.crowded)
    return (*ends, max(0, known.earned - sum(ends)))
