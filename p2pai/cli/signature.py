"""`p2pai wallet sign` and `verify`: show that an address is yours, and see whether it is somebody's."""

from typing import Annotated

import typer

from p2pai.cli import options, passwords, screen, unlocking
from p2pai.primitives import address, ecdsa, signed_message
from p2pai.shell import config
from p2pai.shell.specs import load_spec

Message = Annotated[str, typer.Argument(metavar="MESSAGE", help="Any text.")]


def sign(
    message: Message,
    *,
    account: options.Account = 0,
    password_file: passwords.PasswordFile = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Sign a message with an account's key; opens the key store itself, no node is needed."""
    directory = options.expand(data_dir)
    secret = unlocking.unlock(directory, password_file).account(account).spending
    signature = signed_message.sign_message(secret, message)
    if not as_json:
        screen.show_line(signature)
        return
    record = config.find(directory)
    prefix = load_spec(record.config.chain if record else "devnet").prefix
    shown = address.encode(prefix, ecdsa.key_hash(ecdsa.public_key(secret)))
    screen.show_json({"address": shown, "message": message, "signature": signature})


def verify(
    owner: Annotated[str, typer.Argument(metavar="ADDRESS", help="Whose signature it should be.")],
    message: Message,
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE", help="What p2pai wallet sign printed.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Check a signed message; exit status 0 only if it holds. Needs no node, no keys and no network."""
    prefix = owner.lower().rpartition("1")[0] or "pai"
    signed_message.verify_message(address.decode(prefix, owner), message, signature)
    if as_json:
        screen.show_json({"address": owner, "message": message, "valid": True})
    else:
        screen.show_line(f"The owner of {owner} signed this message.")
