"""A hash of a whole history: equal for equal histories, whatever machine they ran on."""

import hashlib
from collections.abc import Iterable

from p2pai import effects, events
from p2pai.effects import Effect
from p2pai.events import Event


class Trace:
    """Takes in what happens, in order; lengths stand before bytes, so that no two histories read alike."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def happen(self, at_ms: int, name: str, what: str) -> None:
        """Take in that something happened to somebody."""
        self._hash.update(f"{at_ms} {name} {what}\n".encode())

    def hear(self, at_ms: int, name: str, event: Event) -> None:
        """Take in what a node is told; bytes that another's effect brought in are there already."""
        match event:
            case events.Received(remote, topic, data):
                what = f"Received {remote} {topic} {len(data)}"
            case events.Asked(request, remote, body):
                what = f"Asked {request} {remote} {len(body)}"
            case events.Answered(request, remote, body):
                what = f"Answered {request} {remote} {-1 if body is None else len(body)}"
            case events.Fetched(blob, chunks):
                what = f"Fetched {blob.hex()} {-1 if chunks is None else len(chunks)}"
            case events.Started(journal, snapshot, blocks):
                what = f"Started {len(journal)} {len(blocks)}"
                self._take(what, (*journal, *blocks, snapshot or b""))
            case _:
                what = repr(event)
        self.happen(at_ms, name, what)

    def add(self, effect: Effect) -> None:
        """Take in what a node did: all of it, since one byte more tells two histories apart."""
        match effect:
            # Written out for those that are many or large; a repr of their bytes takes ten times as long.
            case effects.Judge(verdict, reason):
                self._hash.update(f"Judge {verdict.value} {reason}\n".encode())
            case effects.Publish(topic, data):
                self._take(f"Publish {topic}", (data,))
            case effects.Ask(request, remote, body):
                self._take(f"Ask {request} {remote}", (body,))
            case effects.Answer(request, body):
                self._take(f"Answer {request}", (body,))
            case effects.Persist(token, record):
                self._take(f"Persist {token}", (record,))
            case effects.StoreBlock(token, name, height, body):
                self._take(f"StoreBlock {token} {height}", (name, body))
            case effects.StoreSnapshot(token, height, body, chain):
                self._take(f"StoreSnapshot {token} {height}", (*chain, body))
            case effects.PutBlob(chunks, shared):
                self._take(f"PutBlob {shared}", chunks)
            case _:
                self._hash.update(f"{effect!r}\n".encode())

    def _take(self, what: str, parts: Iterable[bytes]) -> None:
        self._hash.update(what.encode())
        for part in parts:
            self._hash.update(b" %d " % len(part))
            self._hash.update(part)

    def hexdigest(self) -> str:
        """Return the hash so far."""
        return self._hash.hexdigest()
