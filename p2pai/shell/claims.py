"""What a faucet has granted: `DIR/faucet.db`, so that a restart forgets no limit.

A claim is written before its payment is ordered, and taken back only when the node has refused to pay. So
whatever crashes in between, nobody is paid twice; at worst a claim that was never paid counts for a day.

SQLite, in its durable mode; claims older than the longest window are deleted at each new one.
"""

import ipaddress
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2pai.primitives.errors import InvalidInput
from p2pai.shell.files import FILE_MODE, make_directory

FILE_NAME: Final = "faucet.db"

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S

ADDRESS_DAY_MAX: Final = 1
"""Claims of one address in 24 hours."""

CLIENT_DAY_MAX: Final = 3
"""Claims of one client in 24 hours: several people may share an address of the internet."""

HOUR_MAX: Final = 60
"""Claims of all together in an hour, where nothing else is said: what a flood of addresses can take."""

IPV6_PREFIX: Final = 64
"""Bits that tell one client from another: whoever has one IPv6 address has this many."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS claims (
  id INTEGER PRIMARY KEY, time_s INTEGER NOT NULL, address TEXT NOT NULL, client TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_time ON claims (time_s);
"""


class TooMany(InvalidInput):
    """A claim beyond a limit."""

    def __init__(self, sentence: str, wait_s: int) -> None:
        super().__init__(sentence)
        self.wait_s = wait_s
        """Seconds after which it is worth asking again."""


class Claims:
    """The claims of one faucet."""

    def __init__(self, database: sqlite3.Connection, hour_max: int) -> None:
        self._database, self._hour_max = database, hour_max

    def grant(self, address: str, client: str, now_s: int) -> int:
        """Count a claim, durably; return its number.

        Args:
          address: who gets the coins, in one form.
          client: who asked, from `client_name`.
          now_s: the local clock.

        Raises:
          TooMany: a limit is reached; nothing was counted.
        """
        with self._database:
            self._database.execute("DELETE FROM claims WHERE time_s <= ?", (now_s - DAY_S,))
        self._check("address = ?", address, DAY_S, ADDRESS_DAY_MAX, now_s, "this address has had its coins")
        self._check(
            "client = ?", client, DAY_S, CLIENT_DAY_MAX, now_s, "enough was claimed from where you are"
        )
        self._check(
            "? != ''", "all", HOUR_S, self._hour_max, now_s, "the faucet has given enough for this hour"
        )
        with self._database:
            row = self._database.execute(
                "INSERT INTO claims (time_s, address, client) VALUES (?, ?, ?)", (now_s, address, client)
            )
        assert row.lastrowid is not None
        return row.lastrowid

    def take_back(self, claim: int) -> None:
        """Forget a claim that was certainly not paid."""
        with self._database:
            self._database.execute("DELETE FROM claims WHERE id = ?", (claim,))

    def _check(self, whose: str, name: str, window_s: int, most: int, now_s: int, why: str) -> None:
        query = (
            f"SELECT time_s FROM claims WHERE {whose} AND time_s > ? ORDER BY time_s DESC LIMIT 1 OFFSET ?"  # noqa: S608
        )
        row = self._database.execute(query, (name, now_s - window_s, most - 1)).fetchone()
        if row is not None:
            wait_s = row[0] + window_s - now_s
            raise TooMany(f"{why}; come back in {_duration(wait_s)}", wait_s)


@contextmanager
def open_claims(directory: Path, hour_max: int = HOUR_MAX) -> Iterator[Claims]:
    """Open the claims in a directory; close them afterwards.

    Raises:
      InvalidInput: the file is damaged, or no database.
    """
    path = make_directory(directory) / FILE_NAME
    path.touch(mode=FILE_MODE)
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; {_SCHEMA}")
        yield Claims(database, hour_max)
    except sqlite3.DatabaseError as error:
        raise InvalidInput(f"{path} is damaged; move it away") from error
    finally:
        database.close()


def client_name(host: str) -> str:
    """Return what clients are told apart by: their IPv4 address, or the network of their IPv6 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)


def _duration(seconds: int) -> str:
    hours, minutes = seconds // HOUR_S, -(-seconds // 60)
    return f"{hours} hours" if hours > 1 else f"{minutes} minutes" if minutes > 1 else "a minute"
