"""NPZ data files: a zip archive of the arrays `x` and `y`, as `numpy.savez` writes it; nothing is unpickled.

NumPy's own reader believes an array's header and unpacks with any method that zip knows, some of which can't
be stopped at a limit. Here an array is unpacked up to the limit first, and its header is then compared with
what came out.

Source: numpy.lib.format.
"""

import zipfile
import zlib
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2pai.jaxtrain.reading import DATA_BYTES_MAX, check_size, read_at_most
from p2pai.primitives.errors import InvalidInput

NAMES_SHOWN_MAX: Final = 5
"""Names of arrays that a message lists."""

_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

_MALFORMED: Final = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)
"""What zipfile raises on malformed archives, also while it reads one that could be opened."""

Array = np.ndarray[Any, Any]


def read(file: Path) -> tuple[Array, Array]:
    """Return the arrays `x` and `y`.

    Raises:
      InvalidInput: one of them is missing, too large, or no array of numbers.
      OSError: the file can't be opened.
    """
    with file.open("rb") as plain:
        try:
            with zipfile.ZipFile(plain) as archive:
                return _read_array(archive, "x"), _read_array(archive, "y")
        except _MALFORMED as error:
            reason = str(error) or type(error).__name__
            raise InvalidInput(f"it is not a valid NPZ file: {reason}") from error


def _read_array(archive: zipfile.ZipFile, name: str) -> Array:
    names = archive.namelist()
    if f"{name}.npy" not in names:
        shown = ", ".join(repr(n.removesuffix(".npy")[:20]) for n in names[:NAMES_SHOWN_MAX])
        raise InvalidInput(f"it has no array {name!r}; its arrays are {shown or 'none'}")
    entry = archive.getinfo(f"{name}.npy")
    if entry.compress_type not in _METHODS:
        raise InvalidInput(f"array {name!r} is packed in another way than numpy.savez_compressed does")
    check_size(entry.file_size)
    with archive.open(entry) as stream:
        data = read_at_most(stream, DATA_BYTES_MAX + 1)
    check_size(len(data))
    return _array_of(data, name)


def _array_of(data: bytearray, name: str) -> Array:
    stream = BytesIO(data)
    try:
        shape, is_fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # it is read as Python text, so it can fail in many ways
        raise InvalidInput(f"array {name!r} has a malformed header") from error
    if dtype.kind not in "buif":
        raise InvalidInput(f"array {name!r} does not hold numbers (its type is {str(dtype)[:40]})")
    held, declared = len(data) - stream.tell(), prod(shape) * dtype.itemsize
    if any(n < 0 for n in shape) or declared != held:
        raise InvalidInput(f"array {name!r} declares {declared:,} bytes of values and holds {held:,}")
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if is_fortran else "C")
