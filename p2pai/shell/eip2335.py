"""The one door to cryptography: a secret under a password, in the form of EIP-2335.

A slow function of password and salt gives a key of 32 bytes. Its first half encrypts the secret
(AES-128-CTR); its second half, hashed with the ciphertext, is the checksum that tells a wrong password before
anything is decrypted. New stores use scrypt; those with PBKDF2 are read too, as the standard asks.

What a file may ask for is bounded, so that a planted one can't take the machine's memory or hold it for an
hour.

Source: EIP-2335; RFC 7914 (scrypt); RFC 8018 (PBKDF2).
"""

import hmac
import os
import unicodedata
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from p2pai.primitives.errors import InvalidInput

SCRYPT_N: Final = 2**18
"""Cost of a new store: 256 MiB and about a second for each guess. Source: EIP-2335."""

SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
SCRYPT_N_MAX: Final = 2**20
"""1 GiB; no store known asks for more."""

PBKDF2_ROUNDS_MAX: Final = 2**22
SALT_SIZE: Final = 32
IV_SIZE: Final = 16
SECRET_SIZE_MAX: Final = 64

_KEY_SIZE: Final = 32
_HALF: Final = 16
_CONTROLS: Final = "Cc"
"""Unicode's category of C0, C1 and Delete."""


def encrypt(secret: bytes, password: str, *, scrypt_n: int = SCRYPT_N) -> dict[str, Any]:
    """Return the `crypto` part of a store.

    Args:
      secret: 1 to SECRET_SIZE_MAX bytes.
      password: as the user typed it.
      scrypt_n: cost, a power of two; smaller than the default in tests only.
    """
    assert 0 < len(secret) <= SECRET_SIZE_MAX, "secret of no allowed size"
    salt, iv = os.urandom(SALT_SIZE), os.urandom(IV_SIZE)
    params = {"dklen": _KEY_SIZE, "n": scrypt_n, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()}
    key = _scrypt(password, params)
    message = _aes_ctr(key[:_HALF], iv, secret)
    return {
        "kdf": {"function": "scrypt", "params": params, "message": ""},
        "checksum": {"function": "sha256", "params": {}, "message": _checksum(key, message).hex()},
        "cipher": {"function": "aes-128-ctr", "params": {"iv": iv.hex()}, "message": message.hex()},
    }


def decrypt(crypto: dict[str, Any], password: str) -> bytes:
    """Return the secret of a store's `crypto` part.

    Raises:
      InvalidInput: the password is wrong, or the store asks for what is not supported.
      KeyError, TypeError, ValueError: a part is missing or malformed.
    """
    functions = tuple(str(crypto[part]["function"]) for part in ("kdf", "checksum", "cipher"))
    derive = {"scrypt": _scrypt, "pbkdf2": _pbkdf2}.get(functions[0])
    if derive is None or functions[1:] != ("sha256", "aes-128-ctr"):
        raise InvalidInput(f"the key store uses {', '.join(functions)}, which p2pai can't read")
    message, iv = bytes.fromhex(crypto["cipher"]["message"]), bytes.fromhex(crypto["cipher"]["params"]["iv"])
    if len(iv) != IV_SIZE or not 0 < len(message) <= SECRET_SIZE_MAX:
        raise ValueError("cipher")
    key = derive(password, crypto["kdf"]["params"])
    if not hmac.compare_digest(_checksum(key, message), bytes.fromhex(crypto["checksum"]["message"])):
        raise InvalidInput("the password is wrong")
    return _aes_ctr(key[:_HALF], iv, message)


def normalise(password: str) -> bytes:
    """Return a password's bytes: NFKD, without control characters, UTF-8. Source: EIP-2335."""
    text = unicodedata.normalize("NFKD", password)
    return "".join(c for c in text if unicodedata.category(c) != _CONTROLS).encode()


def _scrypt(password: str, params: dict[str, Any]) -> bytes:
    n = _bounded(params["n"], SCRYPT_N_MAX)
    r, p = _bounded(params["r"], SCRYPT_R), _bounded(params["p"], SCRYPT_P)
    kdf = Scrypt(salt=_salt(params), length=_KEY_SIZE, n=n, r=r, p=p)
    return kdf.derive(normalise(password))


def _pbkdf2(password: str, params: dict[str, Any]) -> bytes:
    if params["prf"] != "hmac-sha256":
        raise ValueError("prf")
    rounds = _bounded(params["c"], PBKDF2_ROUNDS_MAX)
    kdf = PBKDF2HMAC(hashes.SHA256(), length=_KEY_SIZE, salt=_salt(params), iterations=rounds)
    return kdf.derive(normalise(password))


def _salt(params: dict[str, Any]) -> bytes:
    salt = bytes.fromhex(params["salt"])
    if params["dklen"] != _KEY_SIZE or not 0 < len(salt) <= 2 * SALT_SIZE:
        raise ValueError("salt")
    return salt


def _bounded(value: object, most: int) -> int:
    if type(value) is not int or not 0 < value <= most:
        raise ValueError("out of range")
    return value


def _checksum(key: bytes, message: bytes) -> bytes:
    return sha256(key[_HALF:] + message).digest()


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()
