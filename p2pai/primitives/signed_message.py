"""Messages that people sign to show that an address is theirs.

What is signed is a hash under a tag of its own, so it can never be a transaction, nor anything else that the
network understands. A signature is one word of hexadecimal digits: the public key (33 bytes), then the ECDSA
signature (DER). It holds for a key, so for that key's address on every network.

Source: docs/adr/0028-wallet.md.
"""

from typing import Final

from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput, InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, KeyHash, PublicKey

TAG: Final = "p2pai/message"
DIGITS_MAX: Final = 2 * (ecdsa.PUBLIC_KEY_SIZE + ecdsa.SIGNATURE_SIZE_MAX)


def sign_message(secret: bytes, message: str) -> str:
    """Return the signature of a message by a spending key.

    Raises:
      InvalidInput: the message is not text that has bytes.
    """
    signature = ecdsa.sign(secret, _digest(message))
    return (ecdsa.public_key(secret) + signature).hex()


def verify_message(key_hash: KeyHash, message: str, signature: str) -> None:
    """Check that the owner of an address signed a message.

    Raises:
      InvalidInput: it is no signature, it is another key's, or it is of another message.
    """
    try:
        data = bytes.fromhex(signature) if len(signature) <= DIGITS_MAX else b""
    except ValueError:
        data = b""
    key = PublicKey(data[: ecdsa.PUBLIC_KEY_SIZE])
    if len(data) <= ecdsa.PUBLIC_KEY_SIZE:
        raise InvalidInput("that is no signature: one is a word of up to 208 hexadecimal digits")
    if ecdsa.key_hash(key) != key_hash:
        raise InvalidInput("the signature is not by the key of that address")
    try:
        ecdsa.verify(key, _digest(message), data[ecdsa.PUBLIC_KEY_SIZE :])
    except InvalidProof as error:
        raise InvalidInput("the signature is not of that message") from error


def _digest(message: str) -> Hash32:
    try:
        return tagged_hash(TAG, message.encode())
    except UnicodeEncodeError as error:
        raise InvalidInput("the message is not text in UTF-8") from error
