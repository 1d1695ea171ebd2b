"""Parameters of a scenario, varied.

A key is a path in the scenario's file, as `chain.spacing_s` or `network.degree`; members of a list go by
their name or their number from 1, as `nodes.miner.count` or `faults.1.percent`. Some keys mean more:

    nodes                how many there are; the groups that scale share them
    loss_percent         gossip that is lost, all the time, everywhere; 0: none
    dishonest_percent    how much of their groups the dishonest nodes of the scenario's first adversary are
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Final

from p2pai.primitives.errors import InvalidInput
from testnet.scenario.cast import players, scaled, select
from testnet.scenario.chain import QUICK
from testnet.scenario.faults import Loss
from testnet.scenario.model import Scenario
from testnet.scenario.reading import Table, read
from testnet.scenario.writing import toml_of, write

VALUES_MAX: Final = 100
"""Of one key."""

CELLS_MAX: Final = 10_000
PERCENT_MAX: Final = 100
SETTLE_BLOCKS: Final = 20
"""Spacings that a history may take to come to its end, once it has run for as many blocks as asked."""

Settings = Mapping[str, str]
"""Values as the user wrote them, by key."""


@dataclass(frozen=True)
class Axis:
    """One key, and the values that it takes."""

    key: str
    values: tuple[str, ...]


def axis_of(text: str) -> Axis:
    """Read `KEY=VALUE,VALUE,...`.

    Raises:
      InvalidInput: it is not like that.
    """
    key, equals, listed = text.partition("=")
    values = tuple(value.strip() for value in listed.split(","))
    if not equals or not key.strip() or not all(values):
        raise InvalidInput(f"--vary {text!r} is not KEY=VALUE,VALUE,... as in chain.spacing_s=15,60,600")
    if len(dict.fromkeys(values)) < len(values):
        raise InvalidInput(f"--vary {key} names a value twice")
    if len(values) > VALUES_MAX:
        raise InvalidInput(f"--vary {key} has {len(values)} values, at most {VALUES_MAX}")
    return Axis(key.strip(), values)


def cells(axes: Sequence[Axis]) -> list[Settings]:
    """Return every combination of the axes' values, the last axis fastest.

    Raises:
      InvalidInput: a key twice, or too many combinations.
    """
    keys = [axis.key for axis in axes]
    if len(dict.fromkeys(keys)) < len(keys):
        raise InvalidInput("a key is varied twice")
    made = [dict(zip(keys, values, strict=True)) for values in product(*(axis.values for axis in axes))]
    if len(made) > CELLS_MAX:
        raise InvalidInput(f"there are {len(made)} combinations, at most {CELLS_MAX}")
    return list(made)


def varied(scenario: Scenario, settings: Settings) -> Scenario:
    """Return a scenario with values set.

    Raises:
      InvalidInput: a key that it does not have, or a value that is none of its key.
    """
    for key, text in settings.items():
        scenario = _SPECIAL[key](scenario, text) if key in _SPECIAL else _set(scenario, key, text)
    return scenario


def lengthened(scenario: Scenario, blocks: int) -> Scenario:
    """Return a scenario that runs for about so many blocks, whatever their spacing is."""
    spacing_s = scenario.chain.get("spacing_s", QUICK["spacing_s"])
    heal_s = blocks * spacing_s
    settle_s = max(scenario.expect.settle_s, SETTLE_BLOCKS * spacing_s)
    height_min = min(scenario.expect.height_min, max(1, blocks // 2))  # blocks come by chance
    expect = replace(scenario.expect, settle_s=settle_s, height_min=height_min)
    return replace(scenario, heal_s=heal_s, limit_s=heal_s + settle_s, expect=expect)


def _nodes(scenario: Scenario, text: str) -> Scenario:
    return scaled(scenario, _whole("nodes", text))


def _loss(scenario: Scenario, text: str) -> Scenario:
    percent = _percent("loss_percent", text)
    others = tuple(fault for fault in scenario.faults if not isinstance(fault, Loss))
    return replace(scenario, faults=(*others, Loss(percent=percent)) if percent else others)


def _dishonest(scenario: Scenario, text: str) -> Scenario:
    percent = _percent("dishonest_percent", text)
    if not scenario.adversaries:
        raise InvalidInput(f"the scenario {scenario.name} has no adversary of which there could be more")
    first, *others = scenario.adversaries
    named = select(scenario, first.nodes)
    groups = {player.group.name: None for player in players(scenario) if player.name in named}
    members = [player.name for player in players(scenario) if player.group.name in groups]
    count = (len(members) * percent + PERCENT_MAX // 2) // PERCENT_MAX
    kept = (replace(first, nodes=tuple(members[-count:])),) if count else ()
    return replace(scenario, adversaries=(*kept, *others))


_SPECIAL: Final = {"nodes": _nodes, "loss_percent": _loss, "dishonest_percent": _dishonest}


def _whole(key: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:  # noqa: PLR2004
        raise InvalidInput(f"{key} must be a whole number, not {text!r}")
    return int(text)


def _percent(key: str, text: str) -> int:
    value = _whole(key, text)
    if value > PERCENT_MAX:
        raise InvalidInput(f"{key} must be 0 to {PERCENT_MAX}, not {value}")
    return value


def _set(scenario: Scenario, key: str, text: str) -> Scenario:
    lists: Table = {f.name: [] for f in fields(scenario) if isinstance(getattr(scenario, f.name), tuple)}
    table = lists | tomllib.loads(write(scenario))
    *way, last = key.split(".")
    place: Any = table
    for i, step in enumerate(way):
        place = _enter(place, step, f"the scenario {scenario.name} has no {'.'.join(way[:i])}")
    if not isinstance(place, dict):
        raise InvalidInput(f"the scenario {scenario.name} has no key {key}")
    place[last] = _value(text, is_pair=isinstance(_present(scenario, key), tuple))
    return read(toml_of(table), f"{scenario.name} with {key}={text}")


def _enter(place: Any, step: str, absent: str) -> Any:  # noqa: ANN401
    """Return what a step of a path leads to; a table that is not there yet is made."""
    if isinstance(place, dict):
        return place.setdefault(step, {})
    found = [item for item in place if isinstance(item, dict) and item.get("name") == step] if place else []
    if isinstance(place, list) and step.isdigit() and 1 <= int(step) <= len(place):
        found = [place[int(step) - 1]]
    if not found:
        raise InvalidInput(f"{absent}[{step}]")
    return found[0]


def _present(record: Any, key: str) -> Any:  # noqa: ANN401
    """Return what a plain key is set to now; None where the path leads through lists."""
    for step in key.split("."):
        record = getattr(record, step, None)
    return record


def _value(text: str, *, is_pair: bool) -> object:
    least, dash, most = text.partition("-")
    if dash and least.isdigit() and most.isdigit():
        return [int(least), int(most)]
    if text.isdigit():
        return [int(text), int(text)] if is_pair else int(text)
    return text == "true" if text in ("true", "false") else text
