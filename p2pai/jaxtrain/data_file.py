"""A client's data file, read with suspicion: NPZ, CSV or IDX, bounded, nothing unpickled.

Labels are classes, whole numbers from 0 without gaps; or, for a regression, one number or several a sample.
Features become uint8 where all are whole numbers from 0 to 255, else float32. Whatever is wrong with a file
is told in one sentence.

Source: PoUW §4.2.2; PROTOCOL section 5.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import p2pai
from p2pai.chain.task import CLASS_COUNT_MAX, TARGET_COUNT_MAX
from p2pai.jaxtrain import csv_file, idx_file, npz_file
from p2pai.jaxtrain.dataset import FEATURE_MAX
from p2pai.jaxtrain.reading import check_file
from p2pai.primitives.errors import InvalidInput

TARGET_MAX: Final = 16384.0
"""Largest number of a regression's label, either sign: losses clip there (exact/loss.OUTPUT_MAX)."""

BLOCK_VALUES: Final = 1 << 20
"""Values that are looked at together, so that checking takes little memory."""

PATH_SHOWN_MAX: Final = 200
REASON_SHOWN_MAX: Final = 200
"""Characters of a message."""

PACKAGED: Final = "package:"
"""Before the name of a data file that ships with p2pai."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Samples:
    """A dataset in memory."""

    x: Array
    """uint8 or float32 (samples, features)."""
    y: Array
    """int64 classes (samples,), or float32 (samples, targets)."""
    classes: int
    """0 where labels are numbers."""
    targets: int
    """0 where labels are classes."""


def locate(path: str) -> Path:
    """Return where a data file lies; `package:NAME` means one that ships with p2pai.

    Raises:
      InvalidInput: no such file ships.
    """
    if not path.startswith(PACKAGED):
        return Path(path)
    name = path.removeprefix(PACKAGED)
    file = Path(p2pai.__file__).parent / "data" / name
    if Path(name).name != name or not file.is_file():
        raise InvalidInput(f"no data file {name!r} ships with p2pai")
    return file


def read(path: str, form: str, *, regression: bool) -> Samples:
    """Read a data file of format "npz", "csv" or "idx".

    Args:
      path: of the file; for "idx" of the images, or of a directory with train-images-idx3-ubyte in it.
      form: its format.
      regression: whether labels are numbers, not classes.

    Raises:
      InvalidInput: one sentence that says what is wrong with the file.
    """
    if form not in _READERS:
        raise InvalidInput(f"unknown data format {form[:20]!r}; use one of {', '.join(_READERS)}")
    try:
        x, y = _READERS[form](_existing(path), regression)
        return _samples(x, y, regression=regression)
    except InvalidInput as error:
        raise _refusal(path, str(error)) from error
    except OSError as error:
        raise _refusal(path, f"it cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise _refusal(path, "it holds more data than fits in memory") from error


def _existing(path: str) -> Path:
    file = locate(path)
    try:
        file.stat()
    except ValueError as error:
        raise InvalidInput("no file can have this name") from error
    return file


def _read_npz(file: Path, regression: bool) -> tuple[Array, Array]:  # noqa: ARG001, FBT001
    check_file(file)
    return npz_file.read(file)


def _read_csv(file: Path, regression: bool) -> tuple[Array, Array]:  # noqa: FBT001
    check_file(file)
    return csv_file.read(file, regression=regression)


def _read_idx(file: Path, regression: bool) -> tuple[Array, Array]:  # noqa: ARG001, FBT001
    return idx_file.read(file)


_READERS: Final[dict[str, Callable[[Path, bool], tuple[Array, Array]]]] = {
    "npz": _read_npz,
    "csv": _read_csv,
    "idx": _read_idx,
}


def _samples(x: Array, y: Array, *, regression: bool) -> Samples:
    if x.ndim < 2 or x.size == 0:  # noqa: PLR2004
        raise InvalidInput("features need one row for each sample, and there is no number in them")
    if y.ndim == 0 or len(y) != len(x):
        raise InvalidInput(f"there are {len(x):,} samples and {len(y) if y.ndim else 0:,} labels")
    if regression:
        targets = _targets(y)
        return Samples(_features(x.reshape(len(x), -1)), targets, 0, targets.shape[1])
    labels = _classes(y)
    return Samples(_features(x.reshape(len(x), -1)), labels, int(labels.max()) + 1, 0)


def _classes(y: Array) -> Array:
    """Return labels as int64, every class from 0 to the highest among them."""
    if y.ndim == 2 and y.shape[1] == 1:  # noqa: PLR2004
        y = y[:, 0]
    if y.ndim > 1:
        raise InvalidInput("a label is one class; several numbers a sample are for a regression")
    _require(y, (y >= 0) & (y < CLASS_COUNT_MAX), f"a whole number from 0 to {CLASS_COUNT_MAX - 1}")
    _require(y, y == np.floor(y), "a whole number")
    labels = y.astype(np.int64)
    missing = np.flatnonzero(np.bincount(labels) == 0)
    if len(missing):
        raise InvalidInput(
            f"no sample has label {missing[0]}, and the highest is {labels.max()}: "
            "number the classes from 0 without gaps"
        )
    if labels.max() == 0:
        raise InvalidInput("all labels are 0; there need to be two classes or more")
    return labels


def _require(labels: Array, holds: Array, wanted: str) -> None:
    if not np.all(holds):
        first = int(np.argmin(holds))
        raise InvalidInput(f"label {labels[first]} of sample {first + 1} is not {wanted}")


def _targets(y: Array) -> Array:
    """Return labels as float32 (samples, targets)."""
    wide = y.reshape(len(y), -1)
    if wide.shape[1] > TARGET_COUNT_MAX or y.size == 0:
        raise InvalidInput(f"a label has {wide.shape[1]:,} numbers; 1 to {TARGET_COUNT_MAX} are possible")
    _check_range(wide, TARGET_MAX, "label")
    return wide.astype(np.float32)


def _features(x: Array) -> Array:
    """Take small whole numbers as uint8, anything else as float32."""
    if _is_bytes(x):
        return x.astype(np.uint8, copy=False)
    _check_range(x, FEATURE_MAX, "feature")
    return x.astype(np.float32, copy=False)


def _is_bytes(x: Array) -> bool:
    if not (x.min() >= 0 and x.max() <= 255):  # noqa: PLR2004
        return False
    return x.dtype.kind in "bui" or all(bool(np.all(rows == np.floor(rows))) for _, rows in _blocks(x))


def _check_range(numbers: Array, limit: float, what: str) -> None:
    if numbers.min() >= -limit and numbers.max() <= limit:  # NaN compares false
        return
    for start, rows in _blocks(numbers):
        outside = ~((rows >= -limit) & (rows <= limit))
        if np.any(outside):
            row, column = (int(i[0]) for i in np.nonzero(outside))
            place = f"{what} {column + 1} of sample {start + row + 1}"
            found = rows[row, column]
            reason = f"beyond {limit:,.0f}; scale the numbers down" if np.isfinite(found) else "not a number"
            raise InvalidInput(f"{place} is {found}, {reason}")


def _blocks(x: Array) -> Iterator[tuple[int, Array]]:
    """Yield rows a few at a time, and the index of the first."""
    step = max(1, BLOCK_VALUES // x.shape[1])
    for start in range(0, len(x), step):
        yield start, x[start : start + step]


def _refusal(path: str, reason: str) -> InvalidInput:
    shown, said = " ".join(path.split()), " ".join(reason.split())
    return InvalidInput(f"{shown[-PATH_SHOWN_MAX:]}: {said[:REASON_SHOWN_MAX]}")
