"""Scenario files from where they lie: those that ship by name, any other by its path."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from p2pai.primitives.errors import InvalidInput
from testnet.scenario.files import opened, with_data
from testnet.scenario.model import Scenario
from testnet.scenario.reading import read

FILE_BYTES_MAX: Final = 256 * 1024

LIBRARY: Final = Path(__file__).parent / "library"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")


def shipped() -> tuple[str, ...]:
    """Return the names of the scenarios that ship with the package, sorted."""
    return tuple(sorted(path.stem for path in LIBRARY.glob("*.toml")))


def load(name: str) -> Scenario:
    """Read a scenario.

    Args:
      name: of one that ships, or the path of a TOML file.

    Raises:
      InvalidInput: there is no such file, or it says something that it can't; one sentence.
    """
    if not name:
        raise InvalidInput("the scenario's name is empty; p2pai sim --list shows those that ship")
    path = LIBRARY / f"{name}.toml" if _NAME.fullmatch(name) else Path(name)
    try:
        with opened(path) as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        close = get_close_matches(name, shipped(), n=1)
        meant = f"did you mean {close[0]}?" if close else "p2pai sim --list shows those that ship"
        raise InvalidInput(f"there is no scenario {name}; {meant}") from error
    except InvalidInput as error:
        raise InvalidInput(f"the scenario {name} {error}") from error
    except OSError as error:
        raise InvalidInput(f"the scenario {name} can't be read: {error.strerror}") from error
    return with_data(read(_text(data, name), name), path.parent, name)


def _text(data: bytes, name: str) -> str:
    if len(data) > FILE_BYTES_MAX:
        raise InvalidInput(f"the scenario {name} is larger than {FILE_BYTES_MAX >> 10} KiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the scenario {name} is not in UTF-8") from error
