"""Sound messages, damaged: every field dropped, doubled, retyped, off by one, at its limits; every byte cut.

A canonical encoding refuses nearly all random bytes at its first check. So what is damaged here is the value
inside, and it is encoded canonically again: the damage arrives at the rules behind the decoder.
"""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import cbor2

from tests.fuzz.harness import Form

Path = tuple[int | str, ...]

OF_EVERY_TYPE = (None, True, 0, 7, "", "x", b"", b"\0", [], ["Transfer"], {}, {"a": 1})
LIMITS = (0, 1, 2**16, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1, -1)
NESTED_SIZE_MIN = 100
"""Bytes: no hash, key or signature is as long."""

REPEATED_MAX = 300
"""Items that a list is brought to."""

NAMES = ("../x", "/etc/x", "C:\\x", "a\0b", "x" * 10_000, "\u202e", "\U0001f600", "-0", "1e9", "NaN")


def neighbours(data: bytes, form: Form) -> Iterator[bytes]:
    """Yield everything that is one damage away from a sound message."""
    yield from _cut(data)
    if form is Form.BYTES:
        yield from _each_byte(data)
    elif form is Form.LINES:
        yield from _each_line(data)
    else:
        value = _read(data, form)
        for path in _paths(value):
            for new in _variants(value, path):
                yield from _written(new, form)


def wreck(data: bytes, form: Form, random: Random) -> bytes:
    """Return a message with one random damage, or the same bytes where none can be done."""
    if form in (Form.CBOR, Form.FRAMES, Form.JSON):
        try:
            value = _read(data, form)
        except Exception:  # what cannot be read is damaged enough
            return data
        variants = list(_variants(value, _random_path(value, random))) or [value]
        return next(_written(random.choice(variants), form), data)
    if not data:
        return b"\0"
    if form is Form.LINES:
        lines = data.split(b"\n")
        return random.choice(list(_changed_line(lines, random.randrange(len(lines)))))
    return random.choice(
        [*_changed_byte(data, random.randrange(len(data))), data[: random.randrange(len(data))]]
    )


class Nested(list[Any]):
    """A record that travels as a byte string inside another."""


def _read(data: bytes, form: Form) -> Any:
    if form is Form.JSON:
        return json.loads(data)
    return (
        [_unfolded(part) for part in _frames(data)] if form is Form.FRAMES else _unfolded(cbor2.loads(data))
    )


def _frames(data: bytes) -> Iterator[Any]:
    while data:
        size = int.from_bytes(data[:4], "big")
        yield cbor2.loads(data[4 : 4 + size])
        data = data[4 + size :]


def _unfolded(value: Any) -> Any:
    if isinstance(value, list):
        return [_unfolded(item) for item in value]
    if isinstance(value, bytes) and len(value) > NESTED_SIZE_MIN:
        try:
            inner = cbor2.loads(value)
        except Exception:  # a hash, a key, a signature
            return value
        if isinstance(inner, list) and cbor2.dumps(inner, canonical=True) == value:
            return Nested(_unfolded(inner))
    return value


def _folded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _folded(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    plain = [_folded(item) for item in value]
    return cbor2.dumps(plain, canonical=True) if isinstance(value, Nested) else plain


def _written(value: Any, form: Form) -> Iterator[bytes]:
    try:
        if form is Form.JSON:
            yield json.dumps(value).encode()
        elif form is Form.CBOR:
            yield cbor2.dumps(_folded(value), canonical=True)
        elif isinstance(value, list):
            bodies = [cbor2.dumps(_folded(part), canonical=True) for part in value]
            yield b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    except (TypeError, ValueError, cbor2.CBOREncodeError):
        return  # bytes have no place in JSON


def _cut(data: bytes) -> Iterator[bytes]:
    step = max(1, len(data) // 256)
    for end in range(0, len(data), step):
        yield data[:end]
    yield data[1:]
    yield data + b"\0"
    yield data + data


def _each_byte(data: bytes) -> Iterator[bytes]:
    step = max(1, len(data) // 512)
    for i in range(0, len(data), step):
        yield from _changed_byte(data, i)


def _changed_byte(data: bytes, i: int) -> Iterator[bytes]:
    for value in sorted({data[i] ^ 1, data[i] ^ 0x80, 0, 0xFF, data[i] + 1 & 0xFF} - {data[i]}):
        yield data[:i] + bytes([value]) + data[i + 1 :]
    yield data[:i] + data[i + 1 :]
    yield data[:i] + data[i : i + 1] + data[i:]


def _each_line(data: bytes) -> Iterator[bytes]:
    lines = data.split(b"\n")
    for i in range(len(lines)):
        yield from _changed_line(lines, i)


def _changed_line(lines: list[bytes], i: int) -> Iterator[bytes]:
    before, line, after = lines[:i], lines[i], lines[i + 1 :]
    yield b"\n".join(before + after)
    yield b"\n".join([*before, line, line, *after])
    mark = next((m for m in (b"=", b":", b",") if m in line), None)
    if mark is not None:
        name, _, value = line.partition(mark)
        for new in _words(value):
            yield b"\n".join([*before, name + mark + new, *after])
        yield b"\n".join([*before, b"x" + name + mark + value, *after])


def _words(value: bytes) -> Iterator[bytes]:
    yield from (
        b"",
        b" []",
        b" {}",
        b" true",
        b' ""',
        b" 'x'",
        b" 1979-05-27",
        b" 0.5",
        b" [1, 2",
        b" &a [*a]",
    )
    yield from (b" %d" % limit for limit in (*LIMITS, 10**30, -(10**30)))
    yield from (b" " + json.dumps(name).encode() for name in NAMES)
    if value.strip().isdigit():
        yield b" %d" % (int(value) + 1)
        yield b" %d" % (int(value) - 1)
    yield value.strip()[:-1]


def _paths(value: Any, here: Path = ()) -> Iterator[Path]:
    yield here
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _paths(item, (*here, i))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*here, key))


def _random_path(value: Any, random: Random, here: Path = ()) -> Path:
    """Return a path to anything inside, what is deep as likely as what is wide."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    if not keys or random.randrange(6) == 0:
        return here
    key = random.choice(keys)
    return _random_path(value[key], random, (*here, key))


def _variants(value: Any, path: Path) -> Iterator[Any]:
    """Yield the whole value with what stands at a path changed."""
    old = _at(value, path)
    for new in (*OF_EVERY_TYPE, *_near(old)):
        if type(new) is not type(old) or new != old:
            yield _with(value, path, lambda parent, key, new=new: parent.__setitem__(key, new))
    if path:
        yield _with(value, path, lambda parent, key: parent.pop(key))
        yield _with(value, path, _double)


def _near(old: Any) -> Iterator[Any]:
    if type(old) is int:
        yield from (old + 1, old - 1, *LIMITS)
    elif isinstance(old, bytes):
        yield from (old[:-1], old[1:], old + b"\0", bytes(len(old)), b"\xff" * len(old))
        yield bytes([old[0] ^ 1]) + old[1:] if old else b"\1"
    elif isinstance(old, str):
        yield from (old[:-1], old + "x", old.upper(), *NAMES)
    elif isinstance(old, list):
        yield from (old[::-1], old * 2 if len(old) < REPEATED_MAX else [], old[:1] * REPEATED_MAX)


def _double(parent: Any, key: Any) -> None:
    if isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[f"{key}2"] = parent[key]


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _with(value: Any, path: Path, change: Any) -> Any:
    """Return a copy with something changed at a path; only what is above the path is copied."""
    if not path:
        holder = [value]
        change(holder, 0)
        return holder[0]
    top = parent = _shallow(value)
    for key in path[:-1]:
        parent[key] = _shallow(parent[key])
        parent = parent[key]
    change(parent, path[-1])
    return top


def _shallow(value: Any) -> Any:
    return type(value)(value)
