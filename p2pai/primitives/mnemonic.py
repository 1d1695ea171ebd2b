"""The one door to embit: a wallet's words, and every key that follows from them.

A wallet is 32 random bytes (entropy), which people keep as 24 English words with a checksum (BIP-39). The
words give a seed, and the seed a tree of keys (BIP-32) in which every step used here is hardened, so that a
key that leaks says nothing about any other. Account i of a wallet has three keys, each at a place of its own:

    m / 44' / 7364969' / i' / use' / 0'        use 0: spending, 1: VRF, 2: BLS

The form is BIP-44's. The coin type is the letters "pai"; **it is not registered in SLIP-44**. The spending
key is the key at its place; the VRF and the BLS key are drawn from the keys at theirs, as in
primitives/keys.py. There is no BIP-39 passphrase: the seed is that of an empty one.

Source: BIP-39, BIP-32, BIP-44; PROTOCOL section 2; docs/adr/0028-wallet.md.
"""

from dataclasses import dataclass, field
from typing import Final

from embit import bip32, bip39
from embit.wordlists.bip39 import WORDLIST

from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.keys import Keys, make_keys

ENTROPY_SIZE: Final = 32
"""Bytes of a new wallet's entropy: 24 words."""

ENTROPY_SIZES: Final = (16, 20, 24, 28, 32)
WORD_COUNTS: Final = (12, 15, 18, 21, 24)
"""Source: BIP-39."""

COIN_TYPE: Final = 0x706169
"""7364969, "pai" in ASCII; unregistered."""

ACCOUNT_MAX: Final = 2**31 - 1
"""The greatest number of a hardened step. Source: BIP-32."""

_HARDENED: Final = 0x80000000
_PURPOSE: Final = 44
_SPENDING, _VRF, _BLS = range(3)


@dataclass(frozen=True, slots=True)
class KeyTree:
    """A wallet with all its accounts; it never shows in a representation."""

    entropy: bytes = field(repr=False)

    def account(self, number: int) -> Keys:
        """Return the keys of an account, 0 to ACCOUNT_MAX."""
        assert 0 <= number <= ACCOUNT_MAX, "no such account"
        seed = seed_of(words_of(self.entropy))
        spending, vrf, bls = (
            secret_at(seed, (_PURPOSE, COIN_TYPE, number, use, 0)) for use in (_SPENDING, _VRF, _BLS)
        )
        return make_keys(spending, vrf, bls)


def words_of(entropy: bytes) -> str:
    """Return the words for 16 to 32 bytes of entropy, in one line."""
    assert len(entropy) in ENTROPY_SIZES, "entropy of no allowed size"
    words: str = bip39.mnemonic_from_bytes(entropy)
    return words


def entropy_of(text: str) -> bytes:
    """Return the entropy that a person's words stand for; case and spaces don't matter.

    Raises:
      InvalidInput: a wrong number of words, one that is in no list, or a checksum that fails; the sentence
      never
        repeats the words, except one that isn't any.
    """
    words = text.lower().split()
    if len(words) not in WORD_COUNTS:
        raise InvalidInput(f"a wallet has 24 words (or 12, 15, 18, 21), not {len(words)}")
    for place, word in enumerate(words, 1):
        if word not in WORDLIST:
            raise InvalidInput(f"word {place}, {word!r}, is not a word of BIP-39; look for a typing mistake")
    try:
        entropy: bytes = bip39.mnemonic_to_bytes(" ".join(words))
    except ValueError:
        raise InvalidInput(
            "each of the words exists, but together they fail their checksum: one is wrong or out of order"
        ) from None
    return bytes(entropy)


def seed_of(words: str) -> bytes:
    """Return the 64-byte seed of words that are in order, without a passphrase."""
    seed: bytes = bip39.mnemonic_to_seed(words)
    return seed


def secret_at(seed: bytes, path: tuple[int, ...]) -> bytes:
    """Return the 32-byte private key at a path of hardened steps below a seed."""
    key = bip32.HDKey.from_seed(seed)
    secret: bytes = key.derive([step + _HARDENED for step in path]).secret
    return secret
