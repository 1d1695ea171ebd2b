"""What machine and software native floats come from, as a fingerprint.

Two runs in native numerics may be compared only where nothing that JAX's compiler looks at differs: its
version, the device, the processor and its instructions, the number of cores, and the flags in force.

Source: PROTOCOL section 7; docs/adr/0015-native-numerics.md.
"""

import os
import platform
from functools import cache
from pathlib import Path

import jax
from jaxlib import version as jaxlib_version

from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32


@cache
def fingerprint() -> Hash32:
    """Return the fingerprint of this platform."""
    return tagged_hash("p2pai/platform", *(line.encode() for line in describe()))


def describe() -> tuple[str, ...]:
    """Return what the fingerprint covers, a line each."""
    device = jax.devices()[0]
    return (
        f"jax {jax.__version__}",
        f"jaxlib {jaxlib_version.__version__}",
        f"device {device.platform} {device.device_kind}",
        f"processor {platform.machine()} {_processor()}",
        f"cores {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        f"flags {os.environ.get('XLA_FLAGS', '')}",
    )


def _processor() -> str:
    """Return the model and instructions of the processor, where the system tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "CPU part", "Features")
    found = [line for line in lines if line.split(":")[0].strip() in wanted]
    return " ".join(dict.fromkeys(found))


@cache
def instructions() -> frozenset[str]:
    """Return the names of the processor's instructions and of all else that /proc/cpuinfo says of it."""
    return frozenset(_processor().split())
