"""How people name a message: by how its id begins, how it ends, or both.

The id of gossipsub is the author's peer id and then a number, so that all messages of an author begin alike,
and the end is what tells them apart.
"""

import re
from dataclasses import dataclass
from typing import Final

from p2pai.primitives.errors import InvalidInput

DIGITS_MIN: Final = 4

_NAME: Final = re.compile(r"([0-9a-f]*)\.\.([0-9a-f]*)|([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class MessageName:
    """What was given of an id, in hexadecimal digits."""

    begin: str
    end: str
    either: str = ""
    """What it begins or ends with."""

    def means(self, message: bytes) -> bool:
        """Tell whether a message has such an id."""
        digits = message.hex()
        if self.either:
            return digits.startswith(self.either) or digits.endswith(self.either)
        return digits.startswith(self.begin) and digits.endswith(self.end)


def read_name(text: str) -> MessageName:
    """Read `DIGITS`, with which an id begins or ends, or `BEGIN..END`.

    Raises:
      InvalidInput: it is neither, or too short.
    """
    match = _NAME.fullmatch(text)
    if match is None or len(text.replace("..", "")) < DIGITS_MIN:
        raise InvalidInput(
            f"a message is named by {DIGITS_MIN} or more hexadecimal digits with which its id begins or "
            "ends, or by BEGIN..END of it"
        )
    begin, end, either = match.groups()
    return MessageName(begin or "", end or "", either or "")
