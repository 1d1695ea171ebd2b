"""Conditions on the fields of a message, as people write them: `name == it_res and iteration > 10`.

    condition   = both ("or" both)*
    both        = single ("and" single)*
    single      = "not" single | "(" condition ")" | FIELD | FIELD operator VALUE | FIELD "in" "(" values ")"
    values      = VALUE ("," VALUE)*
    operator    = "==" | "!=" | "<" | "<=" | ">" | ">=" | "~"

A field alone holds when it is there, and neither empty, zero nor no. `a.b` is field b of a; a name alone is
the outermost field that is called so. A list compares as its length, and equals a text when one of its items
does. `~` is true where the text is contained. In a text, `*` and `..` stand for anything, so what is shown
shortened can be pasted back. Quotes let a text hold spaces. What is compared with something of another kind
is not equal to it, and neither less nor more. Nothing in a condition is ever executed.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from p2pai.primitives.errors import InvalidInput

LENGTH_MAX: Final = 1000
"""Characters of a condition."""

DEPTH_MAX: Final = 32
"""Parentheses and negations inside each other."""

_TOKEN: Final = re.compile(
    r"""(?P<operator>==|!=|<=|>=|<|>|~)|(?P<mark>[(),])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'"""
    r"""|(?P<word>[^\s()<>=!~,"']+)"""
)
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}(_[0-9]{1,20}){0,10}")
_KEYWORDS: Final = frozenset(("and", "or", "not", "in"))
_ODD: Final = {
    "=": "two things are compared with ==",
    "!": "use != or not",
    '"': "a quote that does not end",
    "'": "a quote that does not end",
}
_WILD: Final = re.compile(r"\*|\.\.+")

Fields = Mapping[str, Any]
"""By name: integers, texts, yes and no, None, lists and mappings of these."""


class Condition(Protocol):
    """Something that holds of a message, or does not."""

    def holds(self, fields: Fields) -> bool:
        """Tell whether it does; never raises."""


@dataclass(frozen=True, slots=True)
class _Either:
    parts: tuple[Condition, ...]

    def holds(self, fields: Fields) -> bool:
        return any(part.holds(fields) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Both:
    parts: tuple[Condition, ...]

    def holds(self, fields: Fields) -> bool:
        return all(part.holds(fields) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _Not:
    part: Condition

    def holds(self, fields: Fields) -> bool:
        return not self.part.holds(fields)


@dataclass(frozen=True, slots=True)
class _Present:
    field: str

    def holds(self, fields: Fields) -> bool:
        return bool(find(fields, self.field))


@dataclass(frozen=True, slots=True)
class _Compared:
    field: str
    operator: str
    value: str

    def holds(self, fields: Fields) -> bool:
        found = find(fields, self.field)
        match self.operator:
            case "==":
                return _equals(found, self.value)
            case "!=":
                return not _equals(found, self.value)
            case "~":
                return _contains(found, self.value)
        return _is_ordered(found, self.operator, self.value)


def parse(text: str, known: Collection[str] | None = None) -> Condition:
    """Read a condition.

    Args:
      text: as written.
      known: names of all fields that messages can have, so that a misspelt one is refused; None for any.

    Raises:
      InvalidInput: one sentence that says what is wrong, and at which character.
    """
    if len(text) > LENGTH_MAX:
        raise InvalidInput(f"a condition has at most {LENGTH_MAX} characters")
    reader = _Reader(text, known)
    condition = reader.either(0)
    reader.end()
    return condition


def find(fields: Fields, name: str) -> Any:  # noqa: ANN401
    """Return a field by its path, or the outermost that is called `name`; None when there is none."""
    level: Sequence[Fields] = [fields]
    first, _, rest = name.partition(".")
    while level:
        for mapping in level:
            if first in mapping:
                found = mapping[first]
                return find(found, rest) if rest and isinstance(found, Mapping) else None if rest else found
        level = [value for mapping in level for value in mapping.values() if isinstance(value, Mapping)]
    return None


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int

    @property
    def is_keyword(self) -> bool:
        return self.kind == "word" and self.text in _KEYWORDS


class _Reader:
    """Takes tokens off the front of a condition."""

    def __init__(self, text: str, known: Collection[str] | None) -> None:
        self._text, self._known = text, known
        self._tokens = _split(text)
        self._next = 0

    def either(self, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise self._fault("nested too deeply")
        parts = [self._both(depth)]
        while self._take("word", "or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise self._fault("expected `and`, `or` or the end")

    def _both(self, depth: int) -> Condition:
        parts = [self._single(depth)]
        while self._take("word", "and"):
            parts.append(self._single(depth))
        return parts[0] if len(parts) == 1 else _Both(tuple(parts))

    def _single(self, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            raise self._fault("nested too deeply")
        if self._take("word", "not"):
            return _Not(self._single(depth + 1))
        if self._take("mark", "("):
            inner = self.either(depth + 1)
            self._expect(")")
            return inner
        return self._comparison(self._field())

    def _comparison(self, field: str) -> Condition:
        if self._take("word", "in"):
            return self._choice(field)
        operator = self._take("operator")
        return _Compared(field, operator.text, self._value()) if operator else _Present(field)

    def _choice(self, field: str) -> Condition:
        self._expect("(")
        values = [self._value()]
        while self._take("mark", ","):
            values.append(self._value())
        self._expect(")")
        return _Either(tuple(_Compared(field, "==", value) for value in values))

    def _field(self) -> str:
        token = self._peek()
        if token is None or token.kind != "word" or token.is_keyword:
            raise self._fault("expected the name of a field")
        if self._known is not None and token.text.rpartition(".")[2] not in self._known:
            near = difflib.get_close_matches(token.text, self._known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise self._fault(f"no message has a field {token.text[:40]}{hint}")
        self._next += 1
        return token.text

    def _value(self) -> str:
        token = self._peek()
        if token is None or token.kind not in ("word", "text") or token.is_keyword:
            raise self._fault("expected a value")
        self._next += 1
        return token.text

    def _expect(self, mark: str) -> None:
        if not self._take("mark", mark):
            raise self._fault(f"expected {mark}")

    def _take(self, kind: str, text: str | None = None) -> _Token | None:
        token = self._peek()
        if token is None or token.kind != kind or text not in (None, token.text):
            return None
        self._next += 1
        return token

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _fault(self, what: str) -> InvalidInput:
        token = self._peek()
        where = f"at character {token.place + 1}" if token else "at its end"
        return InvalidInput(f"the condition can't be read {where}: {what}")


def _split(text: str) -> list[_Token]:
    tokens, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = _TOKEN.match(text, place)
        if match is None:
            mark = text[place]
            what = _ODD.get(mark, f"nothing begins with {mark!r}")
            raise InvalidInput(f"the condition can't be read at character {place + 1}: {what}")
        kind = match.lastgroup or ""
        quoted = kind in ("double", "single")
        tokens.append(_Token("text" if quoted else kind, match[kind], place))
        place = match.end()
    return tokens


def _equals(found: Any, wanted: str) -> bool:  # noqa: ANN401
    if isinstance(found, bool):
        return wanted in (("yes", "true") if found else ("no", "false"))
    if isinstance(found, int):
        return _integer(wanted) == found
    if isinstance(found, list | tuple):
        return _integer(wanted) == len(found) or any(_equals(item, wanted) for item in found)
    return isinstance(found, str) and _fits(found, wanted)


def _contains(found: Any, wanted: str) -> bool:  # noqa: ANN401
    if isinstance(found, list | tuple):
        return any(_contains(item, wanted) for item in found)
    return isinstance(found, str) and _fits(found, f"*{wanted}*")


def _is_ordered(found: Any, operator: str, wanted: str) -> bool:  # noqa: ANN401
    left = len(found) if isinstance(found, list | tuple) else found
    right = _integer(wanted)
    if not isinstance(left, int) or isinstance(left, bool) or right is None:
        return False
    match operator:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
    return left >= right


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _fits(text: str, wanted: str) -> bool:
    # Each part as early as it can be: what is left for those behind it is then the most.
    first, *middle = _WILD.split(wanted)
    if not middle:
        return text == wanted
    *middle, last = middle
    if not text.startswith(first):
        return False
    place = len(first)
    for part in middle:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return len(text) - place >= len(last) and text.endswith(last)
