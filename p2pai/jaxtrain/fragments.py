"""The jobs that only touch data: a client's file cut into fragments, fragments checked, restored and read.

They need no model, so no JAX either.

Source: PoUW §4.2.2, §4.2.3; PROTOCOL section 5.
"""

from contextlib import suppress
from functools import lru_cache
from typing import Final, Protocol

from p2pai import jobs
from p2pai.chain import shards
from p2pai.chain import task as tasks
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import ReedSolomon
from p2pai.jaxtrain import data_file, dataset, erasure
from p2pai.jaxtrain.dataset import read_batch
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidInput, InvalidMessage, Unavailable
from p2pai.primitives.ids import BlobId

TASKS_KEPT: Final = 16
"""Definitions, up to 16 KiB each, that are not read again with every job."""


class Blobs(Protocol):
    """The node's blob store, as the trainer needs it."""

    def get(self, name: BlobId, /) -> tuple[bytes, ...]:
        """Return the chunks of a blob; raises Unavailable."""

    def put(self, chunks: tuple[bytes, ...], /, *, shared: bool) -> BlobId:
        """Store a blob, and let remotes fetch it if `shared`."""


class Fragments:
    """The fragments in a node's blob store."""

    def __init__(self, blobs: Blobs) -> None:
        """Work on one store."""
        self._blobs = blobs

    def prepare(self, job: jobs.Prepare) -> jobs.Prepared:
        """Cut a data file; InvalidInput when it can't be."""
        if job.batch_size < 1 or job.fragment_count < 1:
            raise InvalidInput("batch size and number of fragments are at least 1")
        samples = data_file.read(job.path, job.format, regression=job.regression)
        fragments = dataset.cut(samples.x, samples.y, job.fragment_count, job.batch_size)
        ids = tuple(self._blobs.put(chunks, shared=False) for chunks in fragments)
        listed = None
        if isinstance(job.redundancy, ReedSolomon):
            rows = [self._split(fragment, job.redundancy) for fragment in fragments]
            listed = self._blobs.put(shards.write(rows), shared=False)
        features = samples.x.shape[1]
        return jobs.Prepared(len(samples.x), features, samples.classes, samples.targets, ids, listed)

    def _split(self, fragment: tuple[bytes, ...], scheme: ReedSolomon) -> shards.Row:
        return tuple(self._blobs.put(shard, shared=False) for shard in erasure.split(fragment, scheme))

    def restore(self, job: jobs.Restore) -> jobs.Restored:
        """Rebuild a fragment from its shards.

        Raises:
          InvalidInput: it has none, or is none of the task's.
          Unavailable: too few of them are here, or their list is not.
        """
        task = decode_task(job.task)
        listed, scheme = task.dataset.shards, task.redundancy
        if (
            listed is None
            or not isinstance(scheme, ReedSolomon)
            or job.fragment not in task.dataset.fragments
        ):
            raise InvalidInput("a fragment is not one of the task's, or has no shards")
        row = shards.read(task, b"".join(self._blobs.get(listed)))[task.dataset.fragments.index(job.fragment)]
        try:
            found = erasure.restore(self._stored(row, scheme.data), scheme)
        except InvalidMessage as error:
            return jobs.Restored(job.fragment, str(error))
        if not found or blob.blob_id(found) != job.fragment:
            return jobs.Restored(job.fragment, "its shards restore something else")
        self._blobs.put(found, shared=False)
        return jobs.Restored(job.fragment, "")

    def _stored(self, row: shards.Row, count: int) -> dict[int, tuple[bytes, ...]]:
        """Return the first so many of a fragment's shards that are here, by index."""
        found: dict[int, tuple[bytes, ...]] = {}
        for index, shard in enumerate(row):
            if len(found) < count:
                with suppress(Unavailable):
                    found[index] = self._blobs.get(shard)
        if len(found) < count:
            raise Unavailable(f"{count} shards restore a fragment, {len(found)} are here")
        return found

    def inspect(self, job: jobs.Inspect) -> jobs.Inspected:
        """Find the first fragment that is not what the task says; Unavailable when one is not here."""
        task = decode_task(job.task)
        for fragment in job.fragments:
            try:
                self.read(task, fragment)
            except InvalidInput as error:
                return jobs.Inspected(fragment, str(error))
        return jobs.Inspected(None, "")

    def read(self, task: TaskDefinition, fragment: BlobId) -> tuple[bytes, ...]:
        """Return a fragment's mini-batches.

        Raises:
          InvalidInput: it is none of the task's, or not cut into mini-batches as the task defines.
          Unavailable: it is not here.
        """
        fragments = task.dataset.fragments
        if fragment not in fragments:
            raise InvalidInput("a fragment is not one of the task's")
        position, chunks = fragments.index(fragment), self._blobs.get(fragment)
        wanted = [task.samples_in_batch(position, i) for i in range(task.batches_in_fragment(position))]
        if [len(read_batch(task, chunk).y) for chunk in chunks] != wanted:
            raise InvalidInput("a fragment is not cut into mini-batches as the task defines")
        return chunks


@lru_cache(TASKS_KEPT)
def decode_task(data: bytes) -> TaskDefinition:
    """Read a definition that keeps its rules.

    Raises:
      InvalidInput: it is malformed, or breaks one.
    """
    task = TaskDefinition.decode(data)
    tasks.check(task)
    return task
