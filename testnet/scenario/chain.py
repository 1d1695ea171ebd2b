"""The chain of a scenario: the devnet made quick, with accounts, tickets and coins for all its nodes.

Each scenario has a chain of its own, since the genesis says who is there. Whoever mines or supervises is in
the first task's group, up to a size at which its messages would be all that there is, and has a ticket more
for other tasks; verifiers and evaluators have one. Clients have more coins.
"""

import tomllib
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from p2pai import chain as chain_package
from p2pai.chain import difficulty
from p2pai.chain.params import Params
from p2pai.chain.spec import ChainSpec, parse
from p2pai.primitives.errors import InvalidInput
from testnet.scenario.adversaries import Outdated
from testnet.scenario.cast import Player, players
from testnet.scenario.model import Scenario
from testnet.scenario.writing import toml_of

FIRST_MINERS_MAX: Final = 9
FIRST_SUPERVISORS_MAX: Final = 7
"""Of the first task's group, which trains all the time."""

NONCES_PER_ITERATION: Final = 6
"""Of the first task's model."""

ITERATION_MS: Final = 143
"""What an iteration takes them, where nothing holds it back."""

HIDDEN: Final = 16
"""Units of the first task's only hidden layer."""

CLIENT_COINS: Final = 100_000
COINS: Final = 1_000

LIMIT_BITS: Final = Params().limit_bits

PREFERENCES: Final = (1, 1)

QUICK: Final[dict[str, int]] = {"spacing_s": 3, "verification_window_blocks": 4}
"""Parameters other than the devnet's, so that a history takes seconds."""

HALF_LIFE_BLOCKS: Final = 20
"""Of the target, in spacings: a half-life that stays while blocks grow rare would make it swing."""

_DEVNET: Final = Path(chain_package.__file__).parent / "presets" / "devnet.toml"


def chain_of(scenario: Scenario) -> ChainSpec:
    """Return the chain spec of a scenario.

    Raises:
      InvalidInput: with the scenario's parameters there is no chain.
    """
    return _parsed(chain_text(scenario))


def chain_text(scenario: Scenario) -> str:
    """Return the same as a TOML file, for real processes."""
    return toml_of(chain_table(scenario))


def chain_table(scenario: Scenario) -> dict[str, Any]:
    """Return what that file says."""
    table = tomllib.loads(_DEVNET.read_text("utf-8"))
    cast = players(scenario)
    first = _first_group(cast)
    table["name"] = scenario.name
    table["dev_accounts"] = len(cast)
    miners = sum("miner" in roles for roles in first.values())
    given = {**QUICK, **scenario.chain}
    given.setdefault("half_life_s", max(1, HALF_LIFE_BLOCKS * given["spacing_s"]))
    params = {**table["params"], **given}
    table["params"] = {**params, "genesis_bits": _bits(params, miners), **scenario.chain}
    table["upgrade"] = [
        {"height": plan.height, "params": dict(plan.params)}
        for plan in scenario.adversaries
        if isinstance(plan, Outdated)
    ]
    genesis = table["genesis"]
    genesis["allocation"] = [{"account": p.account, "coins": _coins(p)} for p in cast]
    genesis["ticket"] = [*_working(first), *_free(cast)]
    genesis["task"][0]["hidden"] = [HIDDEN]
    return table


def check_parameters(chain: dict[str, int]) -> None:
    """Refuse a parameter that chains don't have.

    Raises:
      InvalidInput: see above.
    """
    known = {field.name for field in fields(Params)}
    for name in chain:
        if name not in known:
            raise InvalidInput(f"there is no chain parameter {name}")


@lru_cache(maxsize=8)
def _parsed(text: str) -> ChainSpec:
    return parse(text)


def _first_group(cast: tuple[Player, ...]) -> dict[int, tuple[str, ...]]:
    """Return the roles that accounts have in the first task's group."""
    roles: dict[int, tuple[str, ...]] = {}
    for role, most in (("supervisor", FIRST_SUPERVISORS_MAX), ("miner", FIRST_MINERS_MAX)):
        able = [player.account for player in cast if role in player.group.roles]
        for account in able[:most]:
            roles[account] = (*roles.get(account, ()), role)
    return roles


def _working(first: dict[int, tuple[str, ...]]) -> list[dict[str, Any]]:
    return [
        {"account": account, "roles": list(roles), "preferences": list(PREFERENCES), "in_task": True}
        for account, roles in first.items()
    ]


def _free(cast: tuple[Player, ...]) -> list[dict[str, Any]]:
    staked = ("miner", "supervisor", "verifier", "evaluator")
    rows = [(player.account, [role for role in player.group.roles if role in staked]) for player in cast]
    return [
        {"account": account, "roles": roles, "preferences": list(PREFERENCES)}
        for account, roles in rows
        if roles
    ]


def _coins(player: Player) -> int:
    return CLIENT_COINS if "client" in player.group.roles else COINS


def _bits(params: dict[str, int], miners: int) -> int:
    """Return a target that the first group meets once in a spacing."""
    iterations = 1000 * params["spacing_s"] // max(ITERATION_MS, params["iteration_ms_min"])
    nonces = NONCES_PER_ITERATION * iterations * max(1, miners)
    easiest = difficulty.decode_bits(params.get("limit_bits", LIMIT_BITS))
    return difficulty.encode_bits(min((1 << difficulty.TARGET_BITS) // max(1, nonces), easiest))
