"""A blob store in memory, for the tests of the replayer."""

import pytest

from p2pai.primitives.blob import blob_id
from p2pai.primitives.errors import Unavailable


class Shelf:
    """A content-addressed store."""

    def __init__(self):
        self.blobs = {}

    def get(self, name):
        if name not in self.blobs:
            raise Unavailable("that blob has not arrived yet")
        return self.blobs[name]

    def put(self, chunks, *, shared=False):
        name = blob_id(chunks)
        self.blobs[name] = tuple(chunks)
        return name


@pytest.fixture
def shelf():
    return Shelf()
