"""Train every kind of task a little and print a digest of each: of all states, message maps and metrics.

KINDS=name;name  CARRIER=bfloat16|float32|float64|auto  JIT=0 (op by op)  ONE_CORE=1
INEXACT=1 (an inexact matrix product instead, and the platform's own numerics)
"""

import contextlib
import hashlib
import json
import os
from dataclasses import replace

if os.environ.get("ONE_CORE") == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
from kinds import KINDS, SEED, STEPS, chunks_of, peers_of, position_of

from p2pai import jobs
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import message_map, operations
from p2pai.jaxtrain.exact import carrier
from p2pai.jaxtrain.session import Session, State
from p2pai.jaxtrain.worker import initial_values


def train(name, **changes):
    """Return the digest of a few iterations of a kind, with peers' maps of other taus."""
    task = replace(KINDS[name], **changes)
    session = Session(task, SEED, State(initial_values(task, SEED)), chunks_of(name))
    digest = hashlib.sha256()
    for i in range(STEPS):
        peers = [jobs.PeerUpdate(bits, message_map.encode(signs)) for bits, signs in peers_of(task, i)]
        _, outcome, _ = session.step(jobs.Position(*position_of(i)), i, peers)
        bits = outcome.score.bits(task.metrics)
        for part in (*session.state.blobs, outcome.message_map, np.array(bits, "<u4").tobytes()):
            digest.update(part)
    validated = session.validate(range(STEPS)).bits(task.metrics)
    digest.update(np.array(validated, "<u4").tobytes())
    return digest.hexdigest()


def inexact_dot(x, w):
    """Return x @ w in float32, rounded at each step as the compiler likes."""
    return jnp.sum(x[:, :, None] * w[None], axis=1)


def train_inexactly():
    """Return the digests of training with one inexact operation, and with none that is exact."""
    exact = operations.exact
    operations.exact = lambda bits: replace(exact(bits), dot=inexact_dot)
    return {"dense": train("dense"), "native": train("dense", numerics=Numerics.NATIVE)}


def main():
    forced = os.environ.get("CARRIER", "auto")
    using = contextlib.nullcontext() if forced == "auto" else carrier.using(forced)
    jitted = jax.disable_jit() if os.environ.get("JIT") == "0" else contextlib.nullcontext()
    wanted = os.environ.get("KINDS", "")
    names = wanted.split(";") if wanted else list(KINDS)
    with using, jitted:
        inexact = os.environ.get("INEXACT") == "1"
        found = train_inexactly() if inexact else {name: train(name) for name in names}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
