"""What a data directory must offer: room, a disk that keeps what it is told, private keys, a known form."""

import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.shell import config, database, keystore
from p2pai.shell.checkup.finding import Finding, fail, ok, warn
from p2pai.shell.files import read_private

SPACE_BYTES_MIN: Final = 1 << 30
SPACE_BYTES_WANTED: Final = 10 << 30
"""Data sets, models and snapshots come in gigabytes."""

SYNCS: Final = 8
SYNC_S_WANTED: Final = 0.05
SYNC_S_MAX: Final = 1.0
"""Seconds for one small write to be safe: every promise of a node waits for one."""

_OTHERS: Final = 0o077


def check_space(directory: Path, wanted: int = SPACE_BYTES_WANTED, needed: int = SPACE_BYTES_MIN) -> Finding:
    """Look at how much room there is."""
    free = shutil.disk_usage(_existing(directory)).free
    found = f"{free / (1 << 30):.1f} GiB free where {directory} lies"
    advice = "make room, or name a --data-dir on another disk"
    if free < needed:
        return fail("disk space", found, advice)
    return warn("disk space", found, advice) if free < wanted else ok("disk space", found)


def check_writing(directory: Path) -> Finding:
    """Write a little, and see how long it takes until it is safe."""
    place = _existing(directory)
    try:
        taken_s = _time_syncs(place)
    except OSError as error:
        return fail(
            "disk",
            f"{place} can't be written: {error.strerror}",
            "name another --data-dir, or: chown it to yourself",
        )
    found = f"a write is safe after {1000 * taken_s:.1f} ms"
    if taken_s > SYNC_S_MAX:
        return fail("disk", found, "this disk is too slow for a node; take a local one")
    if taken_s > SYNC_S_WANTED:
        return warn(
            "disk", found, "slow: everything the node promises waits for that; a solid state disk takes 5 ms"
        )
    return ok("disk", found)


def check_privacy(directory: Path) -> Finding:
    """See that nobody else may look into the directory."""
    if not directory.exists():
        return ok("privacy", f"{directory} is not there yet; it will be made private")
    mode = directory.stat().st_mode & 0o777
    if mode & _OTHERS:
        return warn(
            "privacy", f"others may look into {directory} (mode {mode:03o})", f"run: chmod 700 {directory}"
        )
    return ok("privacy", f"{directory} is its owner's alone")


def check_keys(directory: Path) -> Finding:
    """See that there are keys, readable by their owner alone; no password is needed."""
    path = directory / keystore.FILE_NAME
    try:
        keystore.check_form(path, read_private(path, keystore.FILE_BYTES_MAX))
    except Unavailable:
        record = _record(directory)
        if record is not None and record.config.dev_account is not None:
            return ok("keys", f"those of account {record.config.dev_account}, which the chain publishes")
        return warn("keys", f"{directory} holds none", f"run: p2pai wallet create --data-dir {directory}")
    except InvalidInput as error:
        return fail("keys", str(error), "until then the node doesn't start")
    return ok("keys", f"{path} is private and whole")


def check_journal(directory: Path) -> Finding:
    """See that what a node left here is of a form that this version reads."""
    path = directory / database.FILE_NAME
    if not path.exists():
        return ok("journal", "none yet; the node begins with an empty one")
    try:
        with closing(database.open_for_reading(path)):
            return ok("journal", f"schema version {database.SCHEMA_VERSION}, as this p2pai writes it")
    except InvalidInput as error:
        return fail("journal", str(error), "")
    except (*database.DAMAGED, OSError):
        return fail("journal", str(database.unreadable(path)), "")


def _record(directory: Path) -> config.NodeRecord | None:
    try:
        return config.find(directory)
    except InvalidInput:
        return None


def _existing(directory: Path) -> Path:
    """Return the directory, or the one in which it would be made."""
    return next(place for place in (directory, *directory.absolute().parents) if place.is_dir())


def _time_syncs(place: Path) -> float:
    """Return the median of the seconds that a small write takes to be safe."""
    taken = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(SYNCS):
            start_s = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start_s)
    return median(taken)
