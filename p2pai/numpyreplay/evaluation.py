"""The score of a model on test data: the task's first metric over all mini-batches together.

Source: docs/EXACT.md, "Scores".
"""

from collections.abc import Sequence
from functools import reduce
from operator import add

from p2pai.chain.task import TaskDefinition
from p2pai.numpyreplay import batch, metrics, model, network
from p2pai.numpyreplay.batch import Batch
from p2pai.numpyreplay.loss import lose
from p2pai.numpyreplay.metrics import Counts
from p2pai.numpyreplay.model import Model
from p2pai.primitives.errors import InvalidMessage


def evaluate(task: TaskDefinition, weights: bytes, chunks: Sequence[bytes]) -> int:
    """Return a model's score on mini-batches, 32 bits, more is better; 0 without any.

    Raises:
      InvalidMessage: the bytes are no model of this task, or a mini-batch is malformed.
    """
    given = model.decode(weights, task)
    if not chunks:
        return 0
    counts = (_count(task, given, batch.decode(chunk, task.dataset)) for chunk in chunks)
    return metrics.score(task.metrics[0], reduce(add, counts))


def check_fragment(task: TaskDefinition, position: int, chunks: Sequence[bytes]) -> int:
    """Check the fragment at a position of `dataset.fragments`, and return its number of samples.

    Raises:
      InvalidMessage: it is not cut as the definition says, or a mini-batch is malformed.
    """
    if len(chunks) != task.batches_in_fragment(position):
        raise InvalidMessage("fragment: not cut as the definition says")
    samples = [task.samples_in_batch(position, i) for i in range(len(chunks))]
    for chunk, count in zip(chunks, samples, strict=True):
        batch.decode(chunk, task.dataset, count)
    return sum(samples)


def _count(task: TaskDefinition, given: Model, samples: Batch) -> Counts:
    output = network.forward(task, given, samples.features, None).output
    total = lose(task.loss, output, samples.labels).total
    return metrics.count(task.loss, total, output, samples.labels)
