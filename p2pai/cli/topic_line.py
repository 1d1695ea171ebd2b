"""What was seen, as one line of a terminal: when, what, who, and what it says; or with all fields below.

The most useful comes first, so that a narrow terminal cuts off the least.
"""

from collections.abc import Iterable
from typing import Any, Final

from rich.text import Text

from p2pai.cli import screen
from p2pai.cli.summary import printable, summarize
from p2pai.gossip.topics import NAMES, short_name, short_names
from p2pai.node.decoding import Decoded
from p2pai.node.fields import Fields

STYLES: Final = {
    "tx": "green",
    "block": "bold yellow",
    "it_res": "cyan",
    "model": "magenta",
    "message_history": "blue",
    "dkg": "magenta",
    "heartbeat": "bright_black",
}
"""Of topics, by what is said on them."""

_NAME_WIDTH: Final = max(map(len, NAMES))
_SENDER_WIDTH: Final = 12
_OUTCOMES: Final = {
    "ignored": "yellow",
    "rejected": "bold red",
    "invalid": "bold red",
    "duplicate": "bright_black",
}
_EVENTS: Final = {"sent": "bright_black", "dropped": "red", "blamed": "red", "banned": "bold red"}
_INDENT: Final = 4
_ID_DIGITS: Final = 8
"""Of a message's id: its end tells apart what one author says."""


def line(fields: Fields) -> Text:
    """Return one line of an entry (see node/entries.py)."""
    made = Text()
    made.append(clock(fields["time_us"]), "bright_black")
    name = fields.get("name") or printable(fields.get("topic", ""))[:_NAME_WIDTH]
    made.append(f" {name:{_NAME_WIDTH}} ", STYLES.get(name, ""))
    if "kind" in fields:
        _add_message(made, fields)
    else:
        _add_event(made, fields)
    return made


def details(fields: Fields) -> Text:
    """Return all fields of an entry, one a line."""
    made = Text()
    for name, value in _flat(fields, ""):
        made.append(f"{' ' * _INDENT}{name} ", "bright_black")
        made.append(f"{printable(screen.dash(value))}\n")
    return made


def clock(time_us: int) -> str:
    """Show a time of day in UTC, to the millisecond."""
    minutes, seconds = divmod(time_us // 1_000_000, 60)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}.{time_us // 1000 % 1000:03}"


def remote_name(remote: str) -> str:
    """Shorten a peer id: they all begin alike, so its end is kept."""
    text = printable(remote)
    return text if len(text) <= _SENDER_WIDTH else f"..{text[-8:]}"


def size(count: int) -> str:
    """Show a number of bytes in at most five characters and a unit."""
    if count < 1000:
        return f"{count} B"
    for unit in ("kB", "MB", "GB"):
        count_tenths, count = count // 100, count // 1000
        if count < 1000:
            return f"{count_tenths / 10:.1f} {unit}"
    return f"{count} TB"


def duration(time_us: int | None) -> str:
    """Show a duration in at most six characters."""
    if time_us is None:
        return "-"
    if time_us < 1000:
        return f"{time_us} us"
    if time_us < 1_000_000:
        return f"{time_us // 1000} ms"
    return f"{time_us // 100_000 / 10} s" if time_us < 600_000_000 else f"{time_us // 60_000_000} min"


def _add_message(made: Text, fields: Fields) -> None:
    sender = screen.short(fields["sender"]) if fields["sender"] else "?"
    made.append(f"{sender:{_SENDER_WIDTH}} ", "bold")
    outcome = fields.get("outcome", "")
    if outcome in _OUTCOMES:
        made.append(f"{outcome} ", _OUTCOMES[outcome])
    if fields["fault"]:
        made.append(f"{printable(fields['fault'])} ", "red")
    if fields["kind"].lower() != fields["name"]:
        made.append(f"{fields['kind']} ", STYLES.get(fields["name"], ""))
    made.append(summarize(_decoded(fields)))
    made.append("  " + " ".join(_tail(fields)), "bright_black")


def _tail(fields: Fields) -> list[str]:
    latency = fields["latency_ms"]
    # A stamp of another year is no latency; the sender's clock, or the sender, is wrong.
    took = [duration(latency * 1000)] if latency is not None and 0 <= latency < 600_000 else []
    came = [f"from {remote_name(fields['remote'])}"] if "remote" in fields else ["of ours"]
    on = [f"task {fields['task'][:6]}"] if fields["task"] else []
    return [size(fields["size"]), *took, *came, *on, f"id ..{fields['id'][-_ID_DIGITS:]}"]


def _add_event(made: Text, fields: Fields) -> None:
    made.append(f"{remote_name(fields['remote']):{_SENDER_WIDTH}} ", "bold")
    made.append(fields["seen"], _EVENTS.get(fields["seen"], ""))
    if "by_remote" in fields:
        made.append(" as it asked" if fields["by_remote"] else " as we asked")
    if "offence" in fields:
        made.append(f" for {printable(fields['offence'])}, {fields['against']} points against it")
    if "seconds" in fields:
        made.append(f" for {fields['seconds']} s")
    if "size" in fields:
        made.append(f" {size(fields['size'])}", "bright_black")
    if fields.get("task"):
        made.append(f"  task {fields['task'][:6]}", "bright_black")


def _decoded(fields: Fields) -> Decoded:
    return Decoded(fields["topic"], task=fields["task"], kind=fields["kind"], body=fields["body"])


def _flat(value: Fields, path: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, item in value.items():
        if isinstance(item, dict):
            pairs.extend(_flat(item, f"{path}{name}."))
        elif isinstance(item, list) and any(isinstance(part, dict) for part in item):
            for number, part in enumerate(item):
                pairs.extend(_flat({str(number): part}, f"{path}{name}."))
        else:
            pairs.append((f"{path}{name}", screen.line(item)))
    return pairs


def topic_name(topic: str) -> str:
    """Show a topic as patterns take it."""
    return printable(short_name(topic))


def topic_names(topics: Iterable[str]) -> dict[str, str]:
    """Show topics as patterns take them, those of several chains with their chain's digits."""
    return {topic: printable(name) for topic, name in short_names(list(topics)).items()}
