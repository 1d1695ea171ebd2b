"""What once broke a door: bytes that were met with something else than a value or a refusal of one line."""

import sqlite3
import tempfile
from pathlib import Path

from p2pai import effects
from p2pai.shell import store

NOT_UTF8 = object()
"""Stands for text as only a damaged file has it."""


def _journal_with(*rows: tuple[object, object]) -> bytes:
    """Return a journal's file with one sound record and rows that its schema does not allow."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / store.FILE_NAME
        opened = store.Store.open(Path(made))
        opened.write_all([effects.Persist(0, b"sound")])
        opened.close()
        database = sqlite3.connect(path)
        (schema,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'record'").fetchone()
        loose = schema.replace("NOT NULL", "").replace("STRICT", "")
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'record'", (loose,))
        database.commit()
        database.close()
        database = sqlite3.connect(path)
        for sequence, (checksum, body) in enumerate(rows, start=2):
            cast = "CAST(x'e3ff' AS TEXT)" if body is NOT_UTF8 else "?3"
            values = (sequence, checksum, None if body is NOT_UTF8 else body)
            database.execute(f"INSERT INTO record SELECT ?1, ?2, {cast} WHERE ?3 IS ?3", values)
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'record'", (schema,))
        database.commit()
        database.execute("PRAGMA journal_mode = DELETE")
        database.close()
        return path.read_bytes()


FOUND: dict[str, dict[str, bytes]] = {
    "gossip_frame": {"a topic that is not UTF-8": b"\x0a\x06\x08\x01\x12\x02\xff\xfe"},
    "idx": {
        "an axis of no values beside others beyond any array": bytes.fromhex(
            "00000803 00000000 ff6c8a8a ff8a8a8a"
        ),
    },
    "rpc": {
        "digits of no task were quoted whole": (
            b'{"jsonrpc": "2.0", "method": "task.show", "params": {"task": "%s"}}' % (b"x" * 10_000)
        ),
        "an unknown method was quoted whole": b'{"jsonrpc": "2.0", "method": "%s"}' % (b"x" * 10_000),
    },
    "message": {
        "a mapping on a reserved topic that is no record": b"\xa1ax\xa1ay\x01",
        "one whose kind is no text": b"\xa1ax\xa1dkind\x81\x01",
    },
    "task_file": {
        "what YAML says of a control character has two lines": b"\0",
    },
    "journal_file": {
        "a damaged row with text that is not UTF-8": _journal_with((bytes(16), NOT_UTF8)),
        "a damaged row without a body": _journal_with((bytes(16), None)),
        "a damaged row with text for a checksum": _journal_with(("text", b"body"), (bytes(16), b"next")),
    },
}
"""Door -> what it was -> the bytes."""
