"""What the machine must have: memory, file descriptors, libraries, and a device that computes exactly."""

import importlib.metadata
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from p2pai.shell.checkup.finding import Finding, fail, ok, warn
from p2pai.shell.trainer import environment
from p2pai.shell.trainer_process import ADDRESS_SPACE_BYTES_MAX

MEMORY_BYTES_MIN: Final = 512 << 20
MEMORY_BYTES_WANTED: Final = 2 << 30
"""A node takes about 200 MiB, its trainer 500 MiB for the smallest of tasks and gigabytes for large ones."""

DESCRIPTORS_MIN: Final = 256
DESCRIPTORS_WANTED: Final = 1024
"""A node has a socket for each remote, and files; what systems usually grant is enough."""

DEVICE_S_MAX: Final = 120.0
"""Seconds for loading JAX and a few iterations; 10 on a busy machine."""

SELF_CHECK: Final = (sys.executable, "-P", "-m", "p2pai.jaxtrain.self_check")
MEMORY_FILE: Final = Path("/proc/meminfo")


def check_memory(path: Path = MEMORY_FILE) -> Finding:
    """Look at the memory that programs can have now; `path` is Linux's list."""
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError, IndexError):
        return warn("memory", "this system doesn't say how much is free", "2 GiB should be")
    found = f"{gibibytes(available)} available"
    if available < MEMORY_BYTES_MIN:
        return fail("memory", found, "end other programs, or add memory: a node that trains needs 2 GiB")
    if available < MEMORY_BYTES_WANTED:
        return warn("memory", found, "training may fail; a node that trains needs 2 GiB")
    return ok("memory", found)


def check_descriptors() -> Finding:
    """Look at how many files and sockets this process may open, and how much memory it may address."""
    granted, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{granted} files and sockets may be open at once"
    if 0 <= granted < DESCRIPTORS_MIN:
        return fail("descriptors", found, f"run: ulimit -n {DESCRIPTORS_WANTED}")
    if 0 <= granted < DESCRIPTORS_WANTED:
        return warn(
            "descriptors", found, f"with many remotes that is too few; run: ulimit -n {DESCRIPTORS_WANTED}"
        )
    return ok("descriptors", found)


def check_address_space() -> Finding:
    """Look at whether the trainer may reserve the address space that JAX wants."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= most < ADDRESS_SPACE_BYTES_MAX:
        wanted = gibibytes(ADDRESS_SPACE_BYTES_MAX)
        return fail(
            "address space",
            f"limited to {gibibytes(most)}",
            f"training reserves up to {wanted}: ulimit -v unlimited",
        )
    return ok("address space", "not limited")


def check_libraries(
    requirements: Sequence[str] | None = None,
    version_of: Callable[[str], str] = importlib.metadata.version,
) -> Finding:
    """Compare the installed libraries with what p2pai was made for.

    Args:
      requirements: as `pip` writes them; those of the installed p2pai if not given.
      version_of: returns the version of an installed library, or raises PackageNotFoundError.
    """
    if requirements is None:
        requirements = _own_requirements()
    if not requirements:
        return warn(
            "libraries",
            "p2pai isn't installed as a package, so nothing says what it needs",
            "run: pip install .",
        )
    parsed = [Requirement(text) for text in requirements]
    needed = [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [text for text in (_compare(one, version_of) for one in needed) if text]
    if wrong:
        return fail(
            "libraries", "; ".join(wrong), "run: pip install --upgrade p2pai, in an environment of its own"
        )
    return ok("libraries", f"all {len(needed)} are of versions that p2pai was made for")


def check_device(command: Sequence[str] = SELF_CHECK, deadline_s: float = DEVICE_S_MAX) -> Finding:
    """Let JAX train a little in a process of its own, and compare with what must come out."""
    try:
        done = subprocess.run(  # noqa: S603
            command, check=False, capture_output=True, timeout=deadline_s, env=environment(os.environ)
        )
        answer = json.loads(done.stdout)
        device, found, wanted = answer["device"], answer["digest"], answer["expected"]
    except subprocess.TimeoutExpired:
        return fail("device", f"JAX did not answer within {deadline_s:.0f} s", "is the machine overloaded?")
    except (ValueError, KeyError, TypeError):
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return fail(
            "device",
            f"JAX can't train here: {''.join(last) or 'it said nothing'}",
            "run: pip install --upgrade jax jaxlib",
        )
    if found != wanted:
        return fail(
            "device",
            f"{device} computes {found[:12]} where every other machine computes {wanted[:12]}",
            "others would refuse this node's work; unset XLA_FLAGS, or set JAX_PLATFORMS=cpu",
        )
    return ok("device", f"{device}, JAX {answer['jax']}; trains exactly as all others do")


def gibibytes(count: int) -> str:
    """Show a number of bytes."""
    return f"{count / (1 << 30):.1f} GiB"


def _own_requirements() -> list[str]:
    try:
        return importlib.metadata.requires("p2pai") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _compare(needed: Requirement, version_of: Callable[[str], str]) -> str:
    try:
        version = version_of(needed.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{needed.name} is missing"
    if needed.specifier.contains(version, prereleases=True):
        return ""
    return f"{needed.name} is {version}, not {needed.specifier}"
