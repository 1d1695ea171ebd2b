"""Files that a scenario needs, looked at before anything runs: its own, and the data of its tasks."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

import p2pai
from p2pai.primitives.errors import InvalidInput
from testnet.scenario.model import Scenario, TaskPlan

PACKAGED: Final = "package:"
"""Before the name of a data file that ships with p2pai."""

_DATA: Final = Path(p2pai.__file__).parent / "data"

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def opened(path: Path) -> BinaryIO:
    """Open a regular file: anything else might never end, or keep who opens it waiting.

    Raises:
      FileNotFoundError: there is none.
      InvalidInput: it is something else, or can't be read; a clause that follows the file's name.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            found = next((what for is_such, what in _KINDS if is_such(mode)), "something else")
            raise InvalidInput(f"is {found}, not a file")
        return path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidInput(f"can't be read: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInput("can't be read: no file can have this name") from error


def with_data(scenario: Scenario, directory: Path, source: str) -> Scenario:
    """Return a scenario whose tasks name their data files from the root of the file system.

    Args:
      scenario: as read; a relative path in it starts where its file lies.
      directory: where that is.
      source: what the file is called in complaints.

    Raises:
      InvalidInput: there is no such data file, or it can't be read; one sentence.
    """
    tasks = tuple(
        replace(task, data=_located(task, directory, f"{source}: tasks[{i}].data"))
        for i, task in enumerate(scenario.tasks, 1)
    )
    return replace(scenario, tasks=tasks)


def _located(task: TaskPlan, directory: Path, where: str) -> str:
    if task.data.startswith(PACKAGED):
        name = task.data.removeprefix(PACKAGED)
        if Path(name).name != name or not (_DATA / name).is_file():
            raise InvalidInput(f"{where} is {task.data!r}, but no such file ships with p2pai")
        return task.data
    path = (directory / task.data).absolute()
    try:
        opened(path).close()
    except FileNotFoundError as error:
        raise InvalidInput(f"{where} is {task.data!r}, but there is no file {path}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{where} is {task.data!r}, but {path} {error}") from error
    return str(path)
