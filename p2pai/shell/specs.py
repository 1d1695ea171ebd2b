"""Chain specs from where they lie: those in the package by name, any other by its path."""

import re
from pathlib import Path
from typing import Final

from p2pai import chain
from p2pai.chain.spec import ChainSpec, dev_account_seed, parse
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import PublishedKeys

SPEC_BYTES_MAX: Final = 4 << 20

_PRESETS: Final = Path(chain.__file__).parent / "presets"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


def load_spec(name: str) -> ChainSpec:
    """Read a chain spec.

    Args:
      name: of a packaged spec ("devnet"), or the path of a TOML file.

    Raises:
      InvalidInput: there is no such spec, or it is malformed.
    """
    path = _PRESETS / f"{name}.toml" if _NAME.fullmatch(name) else Path(name)
    try:
        with path.open("rb") as file:
            text = file.read(SPEC_BYTES_MAX).decode("utf-8")
    except FileNotFoundError as error:
        known = ", ".join(sorted(preset.stem for preset in _PRESETS.glob("*.toml")))
        raise InvalidInput(
            f"there is no chain {name}; known are {known}, or give the path of a file"
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the chain spec {name} can't be read") from error
    return parse(text)


def published_keys(chain: str, account: int) -> PublishedKeys:
    """Return the keys of an account that a chain spec publishes.

    Raises:
      InvalidInput: the chain doesn't publish that account.
    """
    spec = load_spec(chain)
    if not 0 <= account < spec.dev_accounts:
        which = f"it has 0 to {spec.dev_accounts - 1}" if spec.dev_accounts else "it publishes no keys"
        raise InvalidInput(f"chain {spec.name} has no dev account {account}: {which}")
    return PublishedKeys(dev_account_seed(spec.name, account))
