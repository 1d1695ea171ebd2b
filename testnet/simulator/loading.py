"""A scenario as a command names it, held against what the simulator knows."""

from p2pai.primitives.errors import InvalidInput
from testnet.scenario import shelf
from testnet.scenario.cast import scaled
from testnet.scenario.model import Scenario
from testnet.simulator.weakened import weakness_of


def load(name: str, nodes: int | None = None) -> Scenario:
    """Read a scenario.

    Args:
      name: of one that ships, or the path of a TOML file.
      nodes: how many there shall be; None: as the scenario says.

    Raises:
      InvalidInput: it can't be played; one sentence.
    """
    scenario = shelf.load(name)
    if scenario.weakened:
        try:
            weakness_of(scenario.weakened)
        except InvalidInput as error:
            raise InvalidInput(f"{name}: weakened: {error}") from error
    return scenario if nodes is None else scaled(scenario, nodes)
