"""For all tests: how long an example takes decides nothing, and who forks does it without JAX."""

import sys

import pytest
from hypothesis import settings

settings.register_profile("p2pai", deadline=None)
settings.load_profile("p2pai")


def pytest_runtest_setup(item):
    if item.get_closest_marker("forks") and "jax" in sys.modules:
        pytest.skip(
            "JAX is loaded, whose threads a fork would lose; make unit runs this test in a process of its own"
        )


@pytest.fixture
def p2pai(monkeypatch, capsys):
    """Run the command line; gives (exit status, standard output, standard error)."""
    from p2pai.cli.main import main

    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["p2pai", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code or 0, printed.out, printed.err

    return run
