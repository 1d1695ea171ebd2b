"""IDX data files, as MNIST is distributed: a file of images, and one of their labels beside it.

    0 0 || type || number of axes || length of each axis u32 || values, C order             all big-endian

Either may be packed with gzip. The labels' name is that of the images with `labels` for `images` and `idx1`
(or, for several numbers a label, `idx2`) for their `idx3`. A directory stands for the training images in it.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import re
import zlib
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from p2pai.jaxtrain.reading import Stream, check_file, check_size, read_at_most
from p2pai.primitives.errors import InvalidInput

_DTYPES: Final = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAGIC_SIZE: Final = 4
_AXES_MAX: Final = 8
_GZIP_MAGIC: Final = b"\x1f\x8b"

_IMAGES: Final = re.compile(r"(?P<set>.*)images(?P<dot>[-.])idx[1-8](?P<rest>.*?)(?:\.gz)?")
_TRAINING_IMAGES: Final = re.compile(r"train[-.]images[-.]idx[1-8]-ubyte(?:\.gz)?")

Array = np.ndarray[Any, Any]


def read(file: Path) -> tuple[Array, Array]:
    """Return images and labels.

    Raises:
      InvalidInput: a file that is missing, malformed or too large.
      OSError: one that can't be read.
    """
    images = _training_images(file) if file.is_dir() else file
    labels = _labels_beside(images)
    return _read_array(images), _read_array(labels)


def _training_images(directory: Path) -> Path:
    # plain files sort before packed ones
    found = sorted(file for file in directory.iterdir() if _TRAINING_IMAGES.fullmatch(file.name))
    if not found:
        raise InvalidInput("the directory holds no train-images-idx3-ubyte, plain or with .gz")
    return found[0]


def _labels_beside(images: Path) -> Path:
    name = _IMAGES.fullmatch(images.name)
    if name is None:
        raise InvalidInput("its name does not contain images-idx3, so its labels cannot be found")
    stems = [f"{name['set']}labels{name['dot']}idx{axes}{name['rest']}" for axes in (1, 2)]
    candidates = [images.with_name(stem + packed) for stem in stems for packed in ("", ".gz")]
    for labels in candidates:
        if labels.exists():
            return labels
    raise InvalidInput(f"there is no file of labels beside it, {stems[0]} or {stems[0]}.gz")


def _read_array(file: Path) -> Array:
    """Read one file; messages name it, since there are two."""
    try:
        check_file(file)
        with file.open("rb") as plain:
            is_packed = plain.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            plain.seek(0)
            if not is_packed:
                return _parse(plain)
            with gzip.GzipFile(fileobj=plain) as unpacked:
                return _parse(unpacked)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InvalidInput(f"{file.name}: it is not a valid gzip file: {error}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{file.name}: {error}") from error


def _parse(stream: Stream) -> Array:
    magic = read_at_most(stream, _MAGIC_SIZE)
    if len(magic) < _MAGIC_SIZE or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise InvalidInput("it does not begin as an IDX file does")
    dtype, axes = np.dtype(_DTYPES[magic[2]]), magic[3]
    lengths = read_at_most(stream, 4 * axes)
    if not 1 <= axes <= _AXES_MAX or len(lengths) < 4 * axes:
        raise InvalidInput(f"its header has {axes} axes, or is cut off")
    shape = tuple(np.frombuffer(lengths, ">u4").tolist())
    size = prod(shape) * dtype.itemsize
    check_size(prod(n or 1 for n in shape) * dtype.itemsize)  # no values, but axes beyond any array
    data = read_at_most(stream, size + 1)  # one more than declared is enough to know
    if len(data) != size:
        held = f"{len(data):,}" if len(data) < size else "more"
        raise InvalidInput(f"its header declares {size:,} bytes of values, and it holds {held}")
    return np.frombuffer(data, dtype).reshape(shape)
