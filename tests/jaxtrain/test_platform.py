"""The fingerprint of a platform: stable here, and another where something differs that floats depend on."""

import os
import subprocess
import sys
from pathlib import Path

import p2pai
from p2pai.jaxtrain import platform

ROOT = str(Path(p2pai.__file__).parent.parent)
PROGRAM = "from p2pai.jaxtrain.platform import fingerprint; print(fingerprint().hex())"


def elsewhere(**changes):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": ROOT, **changes}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_another_process_has_the_same_and_another_flag_another():
    plain = elsewhere(XLA_FLAGS="")
    assert plain == elsewhere(XLA_FLAGS="")
    assert plain != elsewhere(XLA_FLAGS="--xla_backend_optimization_level=1")


def test_it_covers_what_a_compiler_looks_at():
    lines = platform.describe()
    assert [line.split()[0] for line in lines] == ["jax", "jaxlib", "device", "processor", "cores", "flags"]
    assert all(line.split()[1:] for line in lines[:-1])
    assert platform.fingerprint() == platform.fingerprint()
    assert len(platform.fingerprint()) == 32
