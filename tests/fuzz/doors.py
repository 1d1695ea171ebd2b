"""Every door by name."""

from tests.fuzz import files, finding, watching, wire
from tests.fuzz.harness import Door

DOORS: dict[str, Door] = {
    door.name: door for door in (*wire.DOORS, *watching.DOORS, *finding.DOORS, *files.DOORS)
}
