"""A client's data file, read with suspicion: NPZ, CSV or IDX, bounded, nothing unpickled.

NPZ holds `x` (samples first) and `y`; CSV has the label in its last column and may begin with a line of
names; IDX is a file of images whose labels lie beside it under the customary name. Whatever is wrong with
a file is told in one sentence.
"""

import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import p2pai
from p2pai.jaxtrain.dataset import FEATURE_MAX
from p2pai.primitives.errors import InvalidInput

DATA_BYTES_MAX: Final = 1 << 30
"""Bytes of a data file, also after decompression: it is held in memory while it is cut."""

CLASS_COUNT_MAX: Final = 1000
"""Source: chain/task.py."""

_IDX_UBYTE: Final = 0x08

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Samples:
    """A dataset in memory."""

    x: Array
    """uint8 or float32 (samples, features)."""
    y: Array
    """int64 (samples,)."""
    classes: int


PACKAGED: Final = "package:"
"""Before the name of a data file that ships with p2pai."""


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


def read(path: str, form: str) -> Samples:
    """Read a data file of format "npz", "csv" or "idx".

    Raises:
      InvalidInput: one sentence that says what is wrong with the file.
    """
    reader = _READERS.get(form)
    if reader is None:
        raise InvalidInput(f"unknown data format {form!r}; use one of {', '.join(_READERS)}")
    file = locate(path)
    try:
        _check_size(file.stat().st_size, file)
        x, y = reader(file)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise InvalidInput(f"{path} is not a valid {form} file: {_one_line(error)}") from error
    except MemoryError as error:
        raise InvalidInput(f"{path} declares more data than fits in memory") from error
    return _tidy(x, y, path)


def _read_npz(file: Path) -> tuple[Array, Array]:
    with zipfile.ZipFile(file) as archive:
        _check_size(sum(info.file_size for info in archive.infolist()), file)
    with np.load(file, allow_pickle=False) as arrays:
        return arrays["x"], arrays["y"]


def _read_csv(file: Path) -> tuple[Array, Array]:
    with file.open(encoding="utf-8") as lines:
        first = lines.readline()
        if not first.strip() or (_is_header(first) and not lines.readline().strip()):
            raise ValueError("it holds no samples")
    table = np.loadtxt(file, delimiter=",", skiprows=int(_is_header(first)), ndmin=2, encoding="utf-8")
    return table[:, :-1], table[:, -1]


def _is_header(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return True
    return False


def _read_idx(file: Path) -> tuple[Array, Array]:
    labels = file.with_name(re.sub(r"images([-.])idx3", r"labels\1idx1", file.name))
    if labels == file:
        raise ValueError("its name does not contain images-idx3, so its labels cannot be found")
    _check_size(labels.stat().st_size, labels)
    return _idx_array(file.read_bytes()), _idx_array(labels.read_bytes())


def _idx_array(data: bytes) -> Array:
    if len(data) < 4 or data[:3] != bytes([0, 0, _IDX_UBYTE]) or len(data) < 4 + 4 * data[3]:  # noqa: PLR2004
        raise ValueError("it is not an IDX file of unsigned bytes")
    shape = np.frombuffer(data, ">u4", data[3], 4).astype(np.int64)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


_READERS: Final[dict[str, Callable[[Path], tuple[Array, Array]]]] = {
    "npz": _read_npz,
    "csv": _read_csv,
    "idx": _read_idx,
}


def _tidy(x: Array, y: Array, path: str) -> Samples:
    if x.ndim < 2 or x.size == 0 or y.shape != (len(x),):  # noqa: PLR2004
        raise InvalidInput(f"{path}: x needs one row per sample and y one label per row")
    if x.dtype.kind not in "buif" or y.dtype.kind not in "buif":
        raise InvalidInput(f"{path}: features and labels must be numbers")
    if not np.all((y >= 0) & (y < CLASS_COUNT_MAX)) or not np.all(y == np.floor(y)):
        raise InvalidInput(f"{path}: labels must be whole numbers from 0 to {CLASS_COUNT_MAX - 1}")
    labels = y.astype(np.int64)
    classes = int(labels.max()) + 1
    if classes < 2:  # noqa: PLR2004
        raise InvalidInput(f"{path}: at least two classes are needed")
    return Samples(_features(x.reshape(len(x), -1), path), labels, classes)


def _features(x: Array, path: str) -> Array:
    """Take small whole numbers as uint8, anything else as float32."""
    if x.dtype.kind in "bui" and x.min() >= 0 and x.max() <= 255:  # noqa: PLR2004
        return x.astype(np.uint8)
    if not np.all(np.abs(x.astype(np.float64)) <= FEATURE_MAX):
        raise InvalidInput(f"{path}: a feature is not a number or beyond {FEATURE_MAX:.0f}")
    if x.min() >= 0 and x.max() <= 255 and np.all(x == np.floor(x)):  # noqa: PLR2004
        return x.astype(np.uint8)
    return x.astype(np.float32)


def _check_size(size: int, file: Path) -> None:
    if size > DATA_BYTES_MAX:
        raise InvalidInput(f"{file} holds more than {DATA_BYTES_MAX >> 30} GiB of data")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
