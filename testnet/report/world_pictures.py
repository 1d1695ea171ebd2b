"""What else there is of a run in pictures: money, traffic, faults."""

from collections.abc import Sequence
from typing import Final

from testnet.outcome import Account, Fired, Outcome, Planned, Traffic
from testnet.report.canvas import INK, PAPER, SERIES, Axes, label, set_scale
from testnet.report.picture import Mark, Picture, Table

ATOMS_PER_COIN: Final = 100_000_000
CAME: Final = {"mined": 0, "verified": 2, "worked": 4, "received": 5}
WENT: Final = {"tasks": 1, "fees": 3, "sent": 5, "slashed": 7}
HATCHES: Final = {"verified": "//", "received": "--", "sent": "--", "slashed": "xx"}
SHAPES: Final = {"//": "striped", "--": "lined", "xx": "crossed"}
ACCOUNTS_MAX: Final = 24
NAMES_MAX: Final = 6
"""Of topics with a colour of their own; the others share the next."""

ROWS_MAX: Final = 16


def coins(outcome: Outcome) -> Picture:
    """Show what came to whose money, and what went."""
    known = [a for a in outcome.coins.accounts if any(getattr(a, name) for name in (*CAME, *WENT))]
    if not known:
        return Picture("No coin moved.", None)
    shown = sorted(known, key=lambda account: -_moved(account))[:ACCOUNTS_MAX]
    order = [account.node for account in outcome.coins.accounts]
    shown.sort(key=lambda account: order.index(account.node))

    def draw(axes: Axes) -> None:
        for fields, sign in ((CAME, 1), (WENT, -1)):
            left = [0.0] * len(shown)
            for name, colour in fields.items():
                values = [sign * getattr(account, name) / ATOMS_PER_COIN for account in shown]
                axes.barh(
                    range(len(shown)), values, 0.7, left, color=SERIES[colour], hatch=HATCHES.get(name, ""),
                    edgecolor=PAPER, linewidth=0.4,
                )  # fmt: skip
                left = [a + b for a, b in zip(left, values, strict=True)]
        axes.axvline(0, color=INK, linewidth=0.8)
        set_scale(axes, "coins that went (left) and came (right)", "")
        axes.set_yticks(range(len(shown)), [label(account.node) for account in shown])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")

    total = outcome.coins
    slashed = sum(account.slashed for account in total.accounts)
    more = f" The {len(shown)} accounts that moved most." if len(known) > len(shown) else ""
    caption = (
        f"{_coins(total.subsidies)} coins were issued for approved blocks, {_coins(total.fees)} paid in "
        f"fees of transactions, {_coins(slashed)} slashed of stakes; {_coins(total.burned)} are out of "
        f"circulation in the end, {_coins(total.staked)} staked in tickets, {_coins(total.in_tasks)} locked "
        f"in tasks.{more}"
    )
    fields = ("genesis", *CAME, *WENT, "balance", "staked")
    rows = tuple((a.node, *(_coins(getattr(a, name)) for name in fields)) for a in total.accounts)
    table = Table(("node", *(f"{name}>" for name in fields)), rows)
    return Picture(caption, draw, _coin_marks(known), table, 70 + 20 * len(shown))


def _coin_marks(known: Sequence[Account]) -> tuple[Mark, ...]:
    names = {
        "mined": "mined", "verified": "verified and supervised blocks", "worked": "work on tasks",
        "received": "received or sent", "tasks": "paid for tasks", "fees": "fees", "sent": "received or sent",
        "slashed": "slashed",
    }  # fmt: skip
    used = [name for name in (*CAME, *WENT) if any(getattr(account, name) for account in known)]
    colours = {names[name]: ({**CAME, **WENT})[name] for name in used}
    shapes = {names[name]: SHAPES[HATCHES[name]] for name in used if name in HATCHES}
    return tuple(Mark(what, colour, shapes.get(what, "box")) for what, colour in colours.items())


def _moved(account: Account) -> int:
    return sum(getattr(account, name) for name in (*CAME, *WENT))


def _coins(atoms: int) -> str:
    coins, rest = divmod(atoms, ATOMS_PER_COIN)
    return f"{coins}.{rest:08}".rstrip("0").rstrip(".")


def traffic(outcome: Outcome) -> Picture:
    """Show what nodes received, by the name of the topic, over time."""
    known = sorted(outcome.traffic, key=lambda t: -t.received_bytes)
    if not any(t.over_time for t in known):
        return Picture("Nothing was said.", None)
    series = [(t.name, t.over_time) for t in known[:NAMES_MAX]]
    if len(known) > NAMES_MAX:
        series.append(("the rest", _together(known[NAMES_MAX:])))
    seconds = outcome.interval_ms / 1000

    def draw(axes: Axes) -> None:
        count = max(len(values) for _, values in series)
        edges = [i * seconds for i in range(count + 1)]
        below = [0.0] * count
        for colour, (_, values) in enumerate(series):
            padded = [*values, *(0 for _ in range(count - len(values)))]
            rates = [value / 1024 / seconds for value in padded]
            top = [a + b for a, b in zip(below, rates, strict=True)]
            axes.stairs(top, edges, baseline=below, fill=True, color=SERIES[colour], linewidth=0)
            below = top
        set_scale(axes, "time (s)", "all nodes together (KiB/s)")
        axes.set_xlim(0, edges[-1])
        axes.set_ylim(0)

    total = sum(t.received_bytes for t in known)
    parts = ", ".join(f"{t.name} {100 * t.received_bytes / max(1, total):.0f} %" for t in known[:4])
    caption = f"Nodes received {_size(total)} in all: {parts}. Means over {seconds:g} s."
    rows = [
        (t.name, t.published, _size(t.published_bytes), t.received, _size(t.received_bytes), t.duplicates,
         t.ignored, t.refused)
        for t in known
    ]  # fmt: skip
    headings = (
        "topic", "published>", "bytes>", "received>", "bytes received>", "duplicates>", "ignored>",
        "refused>",
    )  # fmt: skip
    marks = tuple(Mark(label(name), colour) for colour, (name, _) in enumerate(series))
    return Picture(caption, draw, marks, Table(headings, tuple(rows)))


def _together(rest: Sequence[Traffic]) -> tuple[int, ...]:
    count = max(len(t.over_time) for t in rest)
    padded = [(*t.over_time, *(0 for _ in range(count - len(t.over_time)))) for t in rest]
    return tuple(map(sum, zip(*padded, strict=True)))


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count / 1024:.1f} KiB"


def faults(outcome: Outcome) -> Picture:
    """Show what was planned to go wrong, and what did, over time."""
    kinds = [planned.kind for planned in outcome.planned] + [fired.kind for fired in outcome.fired]
    rows = list(dict.fromkeys(kinds))[:ROWS_MAX]
    if not rows:
        return Picture("No fault was planned, and none happened.", None)
    end_ms = outcome.head.healed_ms or outcome.head.length_ms

    def draw(axes: Axes) -> None:
        for planned in outcome.planned:
            if planned.kind in rows:
                _draw_plan(axes, rows.index(planned.kind), planned, end_ms)
        for fired in outcome.fired:
            if fired.kind in rows:
                _draw_deeds(axes, rows.index(fired.kind), fired)
        set_scale(axes, "time (s)", "")
        axes.set_yticks(range(len(rows)), [label(kind) for kind in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, max(1, outcome.head.length_ms) / 1000)
        axes.grid(visible=False, axis="y")

    happened = ", ".join(f"{fired.kind} {fired.count}" for fired in outcome.fired) or "nothing"
    caption = f"How often it happened: {happened}. A bar spans the time that the scenario sets for it."
    table = Table(
        ("kind", "times>", "planned for", "from s>", "until s>"),
        tuple(_rows(outcome, rows)),
    )
    marks = (Mark("planned fault", 0, "box"), Mark("adversary", 4, "box"), Mark("it happened", None, "line"))
    return Picture(caption, draw, marks, table, 70 + 26 * len(rows))


def _draw_plan(axes: Axes, row: int, planned: Planned, end_ms: int) -> None:
    start, until = planned.from_ms / 1000, (planned.until_ms or end_ms) / 1000
    colour = SERIES[4] if planned.is_adversary else SERIES[0]
    axes.barh(row, max(0, until - start), 0.55, start, color=colour, alpha=0.35, linewidth=0)


def _draw_deeds(axes: Axes, row: int, fired: Fired) -> None:
    times = [ms / 1000 for ms in fired.at_ms]
    axes.plot(times, [row] * len(times), "|", color=INK, markersize=11, markeredgewidth=0.9)


def _rows(outcome: Outcome, kinds: Sequence[str]) -> list[tuple[object, ...]]:
    counts = {fired.kind: fired.count for fired in outcome.fired}
    found: list[tuple[object, ...]] = []
    for kind in kinds:
        plans = [planned for planned in outcome.planned if planned.kind == kind]
        for planned in plans:
            until = "-" if planned.until_ms is None else f"{planned.until_ms / 1000:g}"
            nodes = ", ".join(planned.nodes)
            found.append((kind, counts.get(kind, 0), nodes, f"{planned.from_ms / 1000:g}", until))
        if not plans:
            found.append((kind, counts[kind], "-", "-", "-"))
    return found
