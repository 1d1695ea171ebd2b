"""`p2pai identity`: the peer id that a node will have, before it is started.

Whoever tells others how to reach a node that is yet to start (a deployment's configuration, a DNS record)
needs its peer id, which follows from the key in `identity.key`.
"""

from p2pai.cli import options, screen
from p2pai.primitives.errors import InvalidInput
from p2pai.shell.config import Config
from p2pai.shell.files import make_directory


def identity(
    *, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False
) -> None:
    """Show the peer id of a data directory's node; makes its key if there is none."""
    from p2pai.gossip.libp2p.own_host import OwnHost

    directory = options.expand(data_dir)
    path = Config(make_directory(directory), chain="").identity
    try:
        peer_id = str(OwnHost(path, ()).id)
    except ValueError as error:
        raise InvalidInput(f"{path} is not a key; with another one the node has another peer id") from error
    if as_json:
        screen.show_json({"peer_id": peer_id, "file": str(path)})
    else:
        screen.show_line(peer_id)
