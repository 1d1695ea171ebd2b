"""`p2pai status`: what the node is and where it stands."""

from typing import Any

from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import Offline, reader


def status(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show the node's version, chain, address, roles, height, remotes and what it fetches."""
    source = reader(options.expand(data_dir))
    is_running = not isinstance(source, Offline)
    answer = {
        **source.call("node.status", {}),
        "running": is_running,
        "network": source.call("node.network", {}) if is_running else None,
        "fetches": source.call("node.fetches", {}) if is_running else [],
    }
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
            *_network_rows(answer["network"]),
            *(("Fetching", fetch(each)) for each in answer["fetches"]),
            ("Mempool", f"{answer['mempool']} transactions"),
            ("Ticket price", screen.coins(answer["ticket_price"])),
            *([("Mining", mining(answer["mining"]))] if answer["mining"] else ()),
        ]
    )


def _network_rows(network: dict[str, Any] | None) -> list[tuple[str, str]]:
    if network is None:
        return []
    return [("Remotes", remotes(network)), ("Reachable", reach(network)), ("Clock", clock(network))]


def mining(tally: dict[str, int]) -> str:
    """Say what became of the nonces that iterations earned, of an answer of `node.status`."""
    earned = tally["earned"]
    if not earned:
        return "no iteration yet"
    parts = [
        f"{100 * tally[what] // earned} % {word}"
        for what, word in (("tried", "tried"), ("stale", "stale"), ("crowded", "not certified in time"))
    ]
    blocks = f"{tally['found']} blocks found, {tally['sent']} sent, {tally['late']} too late"
    return f"{earned} iterations: {', '.join(parts)}; {blocks}"


def remotes(network: dict[str, Any]) -> str:
    """Say who is connected, of an answer of `node.network`."""
    inbound, outbound = network["inbound"], network["outbound"]
    known = "1 address is" if network["known"] == 1 else f"{network['known']} addresses are"
    if network["alone"]:
        return f"none: this node works alone, and goes on trying; {known} known"
    return f"{inbound + outbound}: {outbound} dialled, {inbound} dialled us; {known} known"


def fetch(progress: dict[str, Any]) -> str:
    """Say how far a fetch is, of an answer of `node.fetches`."""
    name = progress["blob"][:16]
    if progress["chunks"] is None:
        return f"{name}, nobody found yet who has it"
    remotes = "1 remote" if progress["sources"] == 1 else f"{progress['sources']} remotes"
    return f"{name}, {progress['here']} of {progress['chunks']} chunks, from {remotes}"


def reach(network: dict[str, Any]) -> str:
    """Say whether other nodes can call this one, of an answer of `node.network`."""
    reached, tried = network["reached_by"], network["tried_by"]
    if not tried:
        return "not known yet: no remote has tried to call this node"
    match network["reach"]:
        case "reachable":
            return (
                f"yes, at {', '.join(network['reached_at'])}; {reached} of {tried} remotes reached this node"
            )
        case "unreachable":
            return f"no, {tried - reached} of {tried} remotes could not; p2pai doctor says what to do"
        case _:
            return f"{reached} of {tried} remotes reached this node, the others could not"


def clock(network: dict[str, Any]) -> str:
    """Say how this machine's clock differs from the others', of an answer of `node.network`."""
    ahead_ms = network["clock_ahead_ms"]
    if ahead_ms is None:
        return "not known yet: no remote has told its time"
    # What the others are ahead, we are behind.
    way = "behind" if ahead_ms > 0 else "ahead of"
    return (
        f"{abs(ahead_ms) / 1000:.3f} s {way} the others' (middle of {network['clocks']}), "
        f"give or take {network['clock_error_ms'] / 1000:.3f} s"
    )
