"""Base58, in which libp2p writes peer ids, by embit's code for it: the other door to that package.

Source: the Base58 encoding scheme of Bitcoin (draft-msporny-base58).
"""

from typing import Final

from embit import base58

SIZE_MAX: Final = 128
"""Bytes that are encoded: the time grows with the square of the length."""


def encode(data: bytes) -> str:
    """Return bytes, at most `SIZE_MAX`, in base58."""
    assert len(data) <= SIZE_MAX, "too long for base58"
    text: str = base58.encode(data) if data else ""
    return text
