"""A hash of a whole history: equal for equal histories, whatever machine they ran on."""

import hashlib

from p2pai import effects
from p2pai.effects import Effect


class Trace:
    """Takes in what happens, in order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def happen(self, at_ms: int, name: str, what: str) -> None:
        """Take in that something of a kind happened to somebody."""
        self._hash.update(f"{at_ms} {name} {what}\n".encode())

    def add(self, effect: Effect) -> None:
        """Take in what a node did: all of it, since one byte more tells two histories apart."""
        update = self._hash.update
        match effect:
            # Written out for those that are many or large; a repr of their bytes takes ten times as long.
            case effects.Judge(verdict, reason):
                update(verdict.value.encode())
                update(reason.encode())
            case effects.Publish(topic, data):
                update(topic.encode())
                update(data)
            case effects.Ask(request, remote, body):
                update(f"Ask {request} {remote}".encode())
                update(body)
            case effects.Answer(request, body):
                update(f"Answer {request}".encode())
                update(body)
            case effects.Persist(token, record):
                update(f"Persist {token}".encode())
                update(record)
            case effects.StoreBlock(token, name, height, body):
                update(f"StoreBlock {token} {height}".encode())
                update(name)
                update(body)
            case effects.StoreSnapshot(token, height, body, chain):
                update(f"StoreSnapshot {token} {height}".encode())
                update(b"".join(chain))
                update(body)
            case effects.PutBlob(chunks, shared):
                update(f"PutBlob {shared}".encode())
                update(b"".join(chunks))
            case _:
                update(repr(effect).encode())

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._hash.hexdigest()
