"""Memory, descriptors, libraries and the device, each as it is and as it shouldn't be."""

import json
import resource
import subprocess
import sys

import pytest

from p2pai.shell.checkup import machine
from p2pai.shell.checkup.finding import Level


def meminfo(path, kilobytes):
    path.write_text(f"MemTotal:       16000000 kB\nMemAvailable:   {kilobytes} kB\n")
    return path


@pytest.mark.parametrize(
    ("kilobytes", "level"), [(100_000, Level.FAIL), (1_000_000, Level.WARN), (8_000_000, Level.OK)]
)
def test_memory_is_judged_by_what_is_available(tmp_path, kilobytes, level):
    assert machine.check_memory(meminfo(tmp_path / "meminfo", kilobytes)).level is level


@pytest.mark.parametrize("text", [None, "", "MemTotal: 1 kB\n", "MemAvailable:\n", "no colon"])
def test_a_system_that_does_not_tell_is_no_failure(tmp_path, text):
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert machine.check_memory(tmp_path / "meminfo").level is Level.WARN


@pytest.mark.parametrize(("granted", "level"), [(200, Level.FAIL), (600, Level.WARN), (2048, Level.OK)])
def test_few_descriptors_are_too_few(granted, level):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if granted > before[1]:
        pytest.skip("the system grants less")
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, before[1]))
    try:
        finding = machine.check_descriptors()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert finding.level is level
    assert str(granted) in finding.found


def test_a_limit_of_address_space_is_found():
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "from p2pai.shell.checkup import machine; print(machine.check_address_space().level)"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stdout == "fail\n"


def test_libraries_are_compared_with_what_is_installed():
    assert machine.check_libraries(["trio>=0.31", "pytest; extra == 'dev'"]).level is Level.OK
    finding = machine.check_libraries(["trio>=999", "no-such-library>=1", "numpy>=2"])
    assert finding.level is Level.FAIL
    assert finding.found.startswith("trio is ")
    assert "no-such-library is missing" in finding.found
    assert "numpy" not in finding.found
    assert machine.check_libraries([]).level is Level.WARN


@pytest.mark.slow
def test_the_device_is_checked_in_a_process_of_its_own():
    finding = machine.check_device()
    assert finding.level is Level.OK, finding.found


def python(program):
    return (sys.executable, "-S", "-c", program)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(60)", "did not answer within 1 s"),
        ("print('hello')", "it said nothing"),
        ("raise SystemExit('no jaxlib for this processor')", "no jaxlib for this processor"),
        ("print(" + repr(json.dumps({"device": "cpu", "jax": "1", "digest": "aa", "expected": "bb"})) + ")",
         "computes aa where every other machine computes bb"),
    ],
)  # fmt: skip
def test_a_device_that_does_not_train_is_found(program, said):
    finding = machine.check_device(python(program), deadline_s=1.0)
    assert finding.level is Level.FAIL
    assert said in finding.found
    assert finding.advice
