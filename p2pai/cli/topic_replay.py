"""`p2pai topic replay`: time travel. A recorded node's core lives again, and shows where it stood when.

A core signs, so its life can be lived again only with the node's keys: of an account that the chain
publishes, which are known, or out of its key store. Without them `--recorded` shows what the node itself
noted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import RenderableType

from p2pai.chain.spec import dev_account_seed
from p2pai.cli import options, passwords, screen
from p2pai.cli.recordings import opened
from p2pai.gossip.message_names import read_name
from p2pai.gossip.recording import Happened, Holds, Noted, Reacted, Reading
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.keys import KeySource, PublishedKeys
from p2pai.shell import keystore

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore
    from p2pai.node.reenactment import Reenactment

MESSAGE_DIGITS_MIN: Final = 12
"""Decimal digits that may be of a message's id; fewer are a number."""

BYTES_SHOWN: Final = 16

Until = Annotated[
    str | None,
    typer.Option(
        metavar="N|MESSAGE",
        help="Stop after the N-th event, or at the message with this id; else at the end.",
    ),
]
Report = dict[str, Any]


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A recording of p2pai start --record.")],
    *,
    until: Until = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Say only whether every effect and state hash comes out the same."),
    ] = False,
    changes: Annotated[
        bool, typer.Option("--changes", help="Show only what the last event changed.")
    ] = False,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Show what was recorded; needs no keys and checks nothing.")
    ] = False,
    password_file: passwords.PasswordFile = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Live a recorded node's life again up to an event, and show where its core stands then.

    Everything that it does on the way is compared with the recording; exit status 1 where it departs from it.
    The keys are those that the chain publishes, or else those of --data-dir.
    """
    if recorded and (verify or changes):
        raise InvalidInput("--recorded executes nothing, so there is nothing to verify and no change to show")
    if changes and until is None:
        raise InvalidInput("--changes needs --until, to say what the event before it is")
    number = None if until is None else _number(file, until)
    with opened(file, Holds.INBOX) as reading:
        if recorded:
            answer = look_up(reading, number)
        else:
            source = _keys(reading, options.expand(data_dir), password_file)
            answer = travel(reading, source, number, with_changes=changes)
    if verify:
        answer = {key: answer[key] for key in ("number", "event", "checked", "departure", "different")}
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer))
    if answer["departure"]:
        raise typer.Exit(1)


def travel(reading: Reading, source: KeySource, number: int | None, *, with_changes: bool) -> Report:
    """Live through a recording up to an event, and return where the core stands.

    Raises:
      InvalidInput: wrong keys, or there are not so many events.
    """
    from p2pai.node.reenactment import Reenactment

    again, before, moment = Reenactment(reading, source), {}, None
    for moment in again.moments():
        if moment.number == number:
            break
        if with_changes and moment.number + 1 == number:
            before = _standing(again)
    if moment is None or (number is not None and moment.number < number and not moment.departure):
        raise _none_of(number, again.number)
    after = _standing(again)
    return {
        "number": moment.number,
        "time_us": moment.time_us,
        "event": _event(moment.event),
        "effects": [type(effect).__name__ for effect in moment.effects],
        "checked": again.checked,
        "departure": moment.departure,
        "different": None if moment.different is None else _event(moment.different),
        **({"changes": _changes(before, after)} if with_changes else after),
    }


def look_up(reading: Reading, number: int | None) -> Report:
    """Return what was recorded about an event, and about the last state hash before it.

    Raises:
      InvalidInput: there are not so many events.
    """
    count, last, noted = 0, None, None
    effects: list[str] = []
    for entry in reading:
        match entry.what:
            case Happened() if count == number:
                break
            case Happened():
                count, effects, last = count + 1, [], entry
            case Reacted(names):
                effects = list(names)
            case Noted():
                noted = entry.what
    if last is None or (number is not None and count < number):
        raise _none_of(number, count)
    assert isinstance(last.what, Happened)
    return {
        "number": count,
        "time_us": last.time_us,
        "event": _event(last.what.event),
        "effects": effects,
        "checked": 0,
        "departure": "",
        "different": None,
        "noted": None if noted is None else {**_plain(noted), "number": noted.number},
    }


def _none_of(number: int | None, count: int) -> InvalidInput:
    return InvalidInput(f"the recording has {count} events, so there is none of number {number}")


def _number(file: Path, until: str) -> int:
    """Return the number of the event that is meant by a number, or by a message's id."""
    from p2pai.node.reenactment import number_of

    if until.isdigit() and len(until) < MESSAGE_DIGITS_MIN:
        if not (number := int(until)):
            raise InvalidInput("events are numbered from 1")
        return number
    name = read_name(until)
    with opened(file, Holds.GOSSIP) as reading:
        return number_of(reading, name)


def _keys(reading: Reading, directory: Path, password_file: Path | None) -> KeySource:
    """Return the recorded node's keys: published ones, or those of a data directory."""
    birth, public = reading.head.birth, reading.head.public_key
    for account in range(birth.spec.dev_accounts if birth else 0):
        published = PublishedKeys(dev_account_seed(birth.spec.name, account)) if birth else None
        if published and ecdsa.public_key(published.account(0).spending) == public:
            return published
    if not keystore.exists(directory):
        raise Unavailable(
            f"a core lives again only with its keys, and {directory} holds none: name the recorded node's "
            "--data-dir, or see what was recorded with --recorded"
        )
    return keystore.unlock(directory, passwords.known(password_file))


def _standing(again: "Reenactment") -> Report:
    """Return where a core stands: its state hash, the hash's parts, and what people ask first."""
    core = again.core
    assert core is not None, "a moment without a core"
    noted, parts = again.standing.note(core), again.standing.parts(core)
    return {
        "state": noted.state.hex(),
        "parts": {name: digest.hex() for name, digest in parts.items()},
        "node": core.query("node.status", {}),
        "chain": core.query("chain.status", {}),
        "tasks": _tasks(core),
        "waiting": [f"{tx.txid.hex()} {tx.kind}" for tx in core.ledger.mempool.transactions()],
    }


def _tasks(core: "NodeCore") -> list[Report]:
    """Return the tasks in short; they name no old block, which the core could not read here."""
    state = sorted(core.state.tasks.items())
    return [{"task": t.hex(), "name": task.definition.name, "state": task.stage.value} for t, task in state]


def _changes(before: Report, after: Report) -> Report:
    """Return what differs, by the path to it, as old and new value."""
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    paths = [path for path in dict.fromkeys((*old, *new)) if old.get(path) != new.get(path)]
    return {path: [old.get(path), new.get(path)] for path in paths}


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(f"{path}.{number}", item)
    else:
        yield path, value


def _event(event: object) -> Report:
    return {"kind": type(event).__name__, **_plain(event)}


def _plain(record: Any) -> Report:  # noqa: ANN401
    """Return a record's fields for people: bytes as their beginning in hex, lists as their length."""
    return {f.name: _short(getattr(record, f.name)) for f in fields(record)}


def _short(value: object) -> object:
    match value:
        case bytes() if len(value) > BYTES_SHOWN:
            return f"{value[:BYTES_SHOWN].hex()}.. ({len(value)} bytes)"
        case bytes():
            return value.hex()
        case tuple():
            return f"{len(value)} items"
        case None | bool() | int() | str():
            return value
    return type(value).__name__


def render(answer: Report) -> RenderableType:
    """Show where a core stands, or what an event changed."""
    facts: list[tuple[str, object]] = [("Events", answer["number"])]
    facts.append(("Event", screen.line(answer["event"])))
    if "time_us" in answer:
        facts += [
            ("Time", screen.moment(answer["time_us"] // 1_000_000)),
            ("Effects", ", ".join(answer["effects"]) or "none"),
        ]
    facts += [
        (title, screen.line(answer[key]))
        for key, title in (("state", "State hash"), ("noted", "Noted"))
        if key in answer
    ]
    facts += _checked(answer)
    for key in ("node", "chain"):
        facts += [(f"{key} {name}", screen.line(value)) for name, value in answer.get(key, {}).items()]
    rows = [(t["task"], t["name"], t["state"]) for t in answer.get("tasks", ())]
    changed = [(path, *map(screen.line, pair)) for path, pair in answer.get("changes", {}).items()]
    return screen.stack(
        screen.facts(facts),
        screen.table(("task", "name", "state"), rows) if rows else None,
        screen.table(("waiting transaction",), [(tx,) for tx in answer["waiting"]])
        if answer.get("waiting")
        else None,
        screen.table(("changed", "before", "after"), changed) if "changes" in answer else None,
    )


def _checked(answer: Report) -> list[tuple[str, object]]:
    if answer["departure"]:
        here = [("Here it is", screen.line(answer["different"]))] if answer["different"] else []
        return [("Departs", f"at event {answer['number']}: {answer['departure']}"), *here]
    if "noted" in answer:
        return [("Checked", "nothing: this is what was recorded")]
    return [("Checked", f"the effects of all events, and {answer['checked']} state hashes, are as recorded")]
