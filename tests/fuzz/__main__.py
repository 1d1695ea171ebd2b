"""Fuzz one door, or all of them one after the other, guided by coverage: `make fuzz SECONDS=60 DOOR=cbor`.

Every door runs in a process of its own: first all single damages of its sound messages, then atheris
(libFuzzer) for the time given. Half of its mutations are those of damage.py, so that canonical encodings stay
canonical. What broke a door is left in the directory of findings, named by its hash; put it into
regressions.py with the fix.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["p2pai"]):
    from tests.fuzz import damage
    from tests.fuzz.doors import DOORS
    from tests.fuzz.harness import Door, knock
    from tests.fuzz.regressions import FOUND

LENGTH_MAX = 1 << 12
"""Bytes that libFuzzer grows an input to; twice the longest sound message if that is more."""

RSS_MIB_MAX = 2048
INPUT_S_MAX = 20
START_S_MAX = 120
"""Seconds for a child's imports and sound messages."""


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("door", nargs="?", choices=[*DOORS, []], default=[])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    asked = parser.parse_args()
    if asked.door:
        fuzz(DOORS[asked.door], asked.seconds, asked.findings / asked.door)
    return max([run(name, asked.seconds, asked.findings) for name in DOORS], default=0)


def run(name: str, seconds: int, findings: Path) -> int:
    """Fuzz a door in a child process; return its exit status."""
    print(f"{name}: ", end="", flush=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(seconds), "--findings", findings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * seconds + START_S_MAX)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    runs = [line for line in lines if line.startswith("Done ")]
    print(runs[-1] if done.returncode == 0 and runs else "\n".join(["BROKEN", *lines[-40:]]), flush=True)
    return done.returncode


def fuzz(door: Door, seconds: int, findings: Path) -> None:
    """Fuzz a door in this process, which ends with it."""
    findings.mkdir(parents=True, exist_ok=True)
    corpus = findings / "corpus"
    corpus.mkdir(exist_ok=True)
    end = time.monotonic() + seconds
    seeds = [*door.seeds(), *FOUND.get(door.name, {}).values()]
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    done = damage_all(door, seeds, end)
    print(f"{done} single damages")
    options = [
        f"-max_total_time={max(1, round(end - time.monotonic()))}",
        f"-max_len={max(LENGTH_MAX, *(2 * len(seed) for seed in seeds))}",
        f"-rss_limit_mb={RSS_MIB_MAX}",
        f"-timeout={INPUT_S_MAX}",
        f"-artifact_prefix={findings}/",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *options], lambda data: knock(door, data), custom_mutator=mutator(door))
    atheris.Fuzz()


def damage_all(door: Door, seeds: list[bytes], end: float) -> int:
    """Knock with every single damage; half of the time at most."""
    half, done = (time.monotonic() + end) / 2, 0
    for seed in seeds:
        for data in damage.neighbours(seed, door.form):
            if time.monotonic() > half:
                return done
            knock(door, data)
            done += 1
    return done


def mutator(door: Door):
    """Return a mutation that is structural every other time."""

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        random = Random(seed)
        if random.randrange(2):
            wrecked = damage.wreck(data, door.form, random)
            if len(wrecked) <= size_max and wrecked != data:
                return wrecked
        return atheris.Mutate(data, size_max)

    return mutate


if __name__ == "__main__":
    sys.exit(main())
