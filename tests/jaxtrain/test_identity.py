"""Training gives the same bits under other instruction sets, optimisers, cores and carriers."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import p2pai

ROOT = str(Path(p2pai.__file__).parent.parent)
PROGRAM = Path(__file__).with_name("digest_program.py")

CONFIGURATIONS = {
    "default": {"NATIVE": "1"},
    "oldest instructions": {"XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2", "CARRIER": "int8", "NATIVE": "1"},
    "no optimisation, one core": {
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "ONE_CORE": "1",
        "CARRIER": "float32",
    },
    "fast mathematics": {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"},
}

GOLDEN = "61483238a2d0d6240a932e1ca8462b5c1c95e966ae8de11039d2ff6bfbbfc09a"
"""Frozen: a change of this digest is a change of the protocol."""


def run(changes):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "CARRIER": "float64", "PYTHONPATH": ROOT, **changes}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def digests():
    names = [n for n in CONFIGURATIONS if platform.machine() == "x86_64" or "instructions" not in n]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(lambda n: run(CONFIGURATIONS[n]), names), strict=True))


def test_exact_training_has_one_digest(digests):
    assert {name: digest["exact"] for name, digest in digests.items()} == dict.fromkeys(digests, GOLDEN)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs two instruction sets")
def test_native_training_has_several_so_the_comparison_can_fail(digests):
    assert digests["default"]["native"] != digests["oldest instructions"]["native"]
