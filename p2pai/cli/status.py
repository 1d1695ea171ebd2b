"""`p2pai status`: what the node is and where it stands."""

from typing import Any

from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import Offline, reader


def status(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show the node's version, chain, address, roles, height and remotes."""
    source = reader(options.expand(data_dir))
    answer = {**source.call("node.status", {}), "running": not isinstance(source, Offline)}
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer))


def render(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `node.status`."""
    return screen.facts(
        [
            ("Version", answer["version"]),
            ("Running", "yes" if answer["running"] else "no; this is what its data directory holds"),
            ("Chain", answer["chain"]),
            ("Peer id", answer["peer_id"]),
            ("Address", answer["address"]),
            ("Roles", ", ".join(answer["roles"])),
            ("Height", answer["height"]),
            ("Tip", answer["tip"]),
            ("Checkpoint", answer["checkpoint"]),
            ("Began at", answer["origin"] or "genesis"),
            ("Remotes", answer["remotes"]),
            ("Mempool", f"{answer['mempool']} transactions"),
            ("Ticket price", screen.coins(answer["ticket_price"])),
        ]
    )
