"""Every door by name."""

from tests.fuzz import files, finding, gossiping, watching, wire
from tests.fuzz.harness import Door

DOORS: dict[str, Door] = {
    door.name: door for door in (*wire.DOORS, *watching.DOORS, *finding.DOORS, *gossiping.DOORS, *files.DOORS)
}
