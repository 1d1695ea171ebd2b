"""Logs: every line to `DIR/node.log` as JSON; warnings and worse to stderr, for who started the node.

Any text may come from a remote: control characters are escaped and values are cut, so that nobody can forge a
line, move the cursor or fill the disk. The log file is turned over at a fixed size.
"""

import logging
import logging.handlers
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from p2pai.shell.files import make_directory

LOG_NAME: Final = "node.log"

TEXT_BYTES_MAX: Final = 200
"""A value is cut here. Source: RELIABILITY (5), "logs, metrics"."""

TRACEBACK_BYTES_MAX: Final = 20_000
FILE_BYTES_MAX: Final = 16 << 20
FILES_KEPT: Final = 2

_OWN: Final = frozenset({"exception", "stack"})
"""Written by us, several lines long."""

_EventDict = MutableMapping[str, Any]


def configure(data_dir: Path, *, level: int = logging.INFO, stderr_level: int = logging.WARNING) -> None:
    """Send this process's logs to their places; again for another directory replaces the first."""
    _replace_handlers([_file_handler(data_dir), _stderr_handler(stderr_level)], level)


def configure_tool(*, stderr_level: int = logging.WARNING) -> None:
    """Send the logs of a command that is no node to stderr alone, so that stdout is the command's."""
    _replace_handlers([_stderr_handler(stderr_level)], stderr_level)


def _replace_handlers(handlers: Sequence[logging.Handler], level: int) -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger()
    for old in _installed:
        root.removeHandler(old)
        old.close()
    _installed[:] = handlers
    for handler in handlers:
        root.addHandler(handler)
    # The libraries log each frame below this.
    root.setLevel(logging.WARNING)
    logging.getLogger("p2pai").setLevel(level)


def clip(_logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Escape and cut every text of a log line."""
    for key, value in event.items():
        if key == "_record":
            continue
        if isinstance(value, bytes):
            event[key] = value[:TEXT_BYTES_MAX].hex()
        elif not isinstance(value, bool | int | float | None):
            limit = TRACEBACK_BYTES_MAX if key in _OWN else TEXT_BYTES_MAX
            event[key] = _escape(str(value), limit, newlines=key in _OWN)
    return event


_SHARED: Final[list[structlog.typing.Processor]] = [
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    clip,
]

_installed: list[logging.Handler] = []
"""Our handlers on the root logger, which belongs to the whole process."""


def _escape(text: str, limit: int, *, newlines: bool) -> str:
    safe = "".join(c if c.isprintable() or (newlines and c == "\n") else ascii(c)[1:-1] for c in text[:limit])
    return safe.encode("utf-8", "backslashreplace")[:limit].decode("utf-8", "ignore")


def _file_handler(data_dir: Path) -> logging.Handler:
    path = make_directory(data_dir) / LOG_NAME
    path.touch(mode=0o600)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8"
    )
    handler.setFormatter(_formatter(structlog.processors.JSONRenderer()))
    return handler


def _stderr_handler(level: int) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)
    # The traceback is for the file.
    handler.setFormatter(_formatter(_one_line))
    return handler


def _formatter(renderer: Any) -> logging.Formatter:  # noqa: ANN401
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )


def _one_line(_logger: object, _method: str, event: _EventDict) -> str:
    hidden = _OWN | {"event", "level", "logger", "timestamp"}
    details = " ".join(f"{key}={value}" for key, value in event.items() if key not in hidden)
    return f"{event.get('level', '')}: {event.get('event', '')} {details}".rstrip()
