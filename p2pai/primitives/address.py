"""The one door to bech32: addresses as people write them.

An address is a network's prefix, a "1", the 20 bytes of a key hash in groups of five bits, and a checksum
that finds any four wrong characters. The package computes the older bech32 checksum, which misses letters q
inserted before a final p; bech32m differs from it in one constant, used here.

Source: BIP-173, BIP-350.
"""

from typing import Final

from bech32 import CHARSET, bech32_hrp_expand, bech32_polymod, convertbits

from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import KeyHash

LENGTH_MAX: Final = 90
"""Characters of an address. Source: BIP-173."""

_CHECKSUM_CONSTANT: Final = 0x2BC830A3
_CHECKSUM_LENGTH: Final = 6
_KEY_HASH_SIZE: Final = 20


def encode(prefix: str, key_hash: KeyHash) -> str:
    """Return the address of `key_hash` on the network with `prefix`, in lower case."""
    assert len(key_hash) == _KEY_HASH_SIZE, "not a key hash"
    assert prefix, "no prefix"
    assert prefix == prefix.lower(), "prefix in upper case"
    words = convertbits(key_hash, 8, 5)
    return prefix + "1" + "".join(CHARSET[word] for word in words + _checksum(prefix, words))


def decode(prefix: str, text: str) -> KeyHash:
    """Read an address of the network with `prefix`; all lower case or all upper case.

    Raises:
      InvalidInput: one sentence for a person: another network, a mistyped character, or a wrong length.
    """
    if text not in (text.lower(), text.upper()):
        raise InvalidInput("The address mixes upper and lower case; copy it again.")
    found, separator, body = text.lower().rpartition("1")
    if not separator or not found or len(text) > LENGTH_MAX or not _is_printable(text):
        raise InvalidInput(f"This is not an address; one starts with {prefix}1.")
    words = _words(body)
    if bech32_polymod(bech32_hrp_expand(found) + words) != _CHECKSUM_CONSTANT:
        raise InvalidInput("The address has a mistyped or missing character; copy it again.")
    if found != prefix:
        raise InvalidInput(f"The address belongs to another network; here one starts with {prefix}1.")
    data = convertbits(words[:-_CHECKSUM_LENGTH], 5, 8, pad=False)
    if data is None or len(data) != _KEY_HASH_SIZE:
        raise InvalidInput(f"The address does not hold {_KEY_HASH_SIZE} bytes; ask for a new one.")
    return KeyHash(bytes(data))


def _words(body: str) -> list[int]:
    if len(body) < _CHECKSUM_LENGTH:
        raise InvalidInput("The address is too short; copy it again.")
    for letter in body:
        if letter not in CHARSET:
            raise InvalidInput(f"The address holds {letter!r}, which no address does; copy it again.")
    return [CHARSET.index(letter) for letter in body]


def _checksum(prefix: str, words: list[int]) -> list[int]:
    values = bech32_hrp_expand(prefix) + words + [0] * _CHECKSUM_LENGTH
    remainder = bech32_polymod(values) ^ _CHECKSUM_CONSTANT
    return [remainder >> 5 * (5 - place) & 31 for place in range(_CHECKSUM_LENGTH)]


def _is_printable(text: str) -> bool:
    return all("!" <= letter <= "~" for letter in text)
