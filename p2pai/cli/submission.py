"""What `task.submit` takes: a draft of a definition, the client's data, and the fee.

A draft lacks what only the data can tell (samples, features, classes, names of fragments) and who serves
them; `TaskDefinition.with_data` completes it.

Source: PoUW §3.4; PROTOCOL section 5.
"""

from dataclasses import dataclass
from importlib.resources import files
from math import isqrt
from pathlib import Path
from typing import Any, Final

from p2pai.chain.task import Dataset, Group, Reward, TaskDefinition
from p2pai.chain.training import FULL_REPLICAS, Assignment, Numerics, Redundancy
from p2pai.cli.network import Network
from p2pai.cli.recipe import Recipe
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, BlobId, Hash32, PeerId

PACKAGED: Final = "package:"
"""Prefix of `data` that means a file shipped with p2pai."""

FORMATS: Final = ("npz", "csv", "idx")
EXPECTED_BLOCKS: Final = 1_000
"""Blocks that training may take where a file does not say: a week at ten minutes a block."""

MANTISSA_BITS: Final = 13
FRAGMENTS: Final = 10
TRAINING_PERCENT: Final = 80
GROUP: Final = Group(miners=3, supervisors=3, evaluators=3)
REWARD: Final = Reward(miners=70, supervisors=15, evaluators=15)
PREFERENCES: Final = (1, 1)


@dataclass(frozen=True, slots=True)
class Submission:
    """Everything `task.submit` needs."""

    definition: TaskDefinition
    """A draft."""
    data: Path
    fee: Amount
    notes: tuple[str, ...] = ()
    """What the user should know about how the file was read, a sentence each."""

    def params(self) -> dict[str, Any]:
        """Return the parameters of the RPC."""
        encoded = self.definition.encode().hex()
        return {"definition": encoded, "data": str(self.data), "fee": self.fee}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client asks of the network beside the training itself."""

    group: Group = GROUP
    reward: Reward = REWARD
    preferences: tuple[int, ...] = PREFERENCES
    expected_blocks: int = EXPECTED_BLOCKS
    assignment: Assignment = Assignment.INTERLEAVED
    redundancy: Redundancy = FULL_REPLICAS


def draft(
    name: str,
    network: Network,
    recipe: Recipe,
    dataset: Dataset,
    terms: Terms,
    numerics: Numerics = Numerics.EXACT,
    mantissa_bits: int = MANTISSA_BITS,
) -> TaskDefinition:
    """Put a draft of a definition together."""
    return TaskDefinition(
        name=name,
        numerics=numerics,
        mantissa_bits=mantissa_bits,
        input_shape=network.input_shape,
        layers=network.layers,
        initialiser=network.initialiser,
        loss=network.loss,
        optimiser=recipe.optimiser,
        schedule=recipe.schedule,
        tau=recipe.tau,
        epochs=recipe.epochs,
        stopping=recipe.stopping,
        validation=recipe.validation,
        metrics=recipe.metrics,
        dataset=dataset,
        group=terms.group,
        reward=terms.reward,
        preferences=terms.preferences,
        client=PeerId(""),
        expected_blocks=terms.expected_blocks,
        assignment=terms.assignment,
        redundancy=terms.redundancy,
    )


def unread_dataset(form: str, batch_size: int, training_percent: int, fragments: int) -> Dataset:
    """Return a dataset whose data have not been read: its fragments are counted, not named."""
    return Dataset(
        format=form,
        samples=0,
        features=0,
        classes=0,
        targets=0,
        batch_size=batch_size,
        training_percent=training_percent,
        fragments=(BlobId(Hash32(bytes(32))),) * fragments,
    )


def supervisors_max(miners: int) -> int:
    """Return how many supervisors a task of so many miners may have."""
    return max(3, isqrt(miners))


def find_data(named: str, folder: Path) -> Path:
    """Return where the data that a file names lie: shipped with p2pai, or beside the file.

    Raises:
      InvalidInput: nowhere.
    """
    if not named.startswith(PACKAGED):
        return existing(folder / named)
    name = named.removeprefix(PACKAGED)
    shipped = Path(str(files("p2pai") / "data"))
    if name not in sorted(p.name for p in shipped.glob("*.npz")):
        raise InvalidInput(f"data: p2pai ships no file called {name!r}")
    return (shipped / name).resolve()


def existing(path: Path) -> Path:
    """Return the whole path of a file, or of a directory of IDX files; raises InvalidInput."""
    if not path.exists():
        raise InvalidInput(f"data: there is no file {path}; give its path with --data PATH")
    return path.resolve()


def format_of(data: Path) -> str:
    """Return the format that a file's name promises: npz, csv, else idx."""
    suffix = data.suffix.removeprefix(".").lower()
    return suffix if suffix in FORMATS else "idx"
