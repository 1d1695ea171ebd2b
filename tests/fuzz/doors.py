"""Every door by name."""

from tests.fuzz import files, wire
from tests.fuzz.harness import Door

DOORS: dict[str, Door] = {door.name: door for door in (*wire.DOORS, *files.DOORS)}
