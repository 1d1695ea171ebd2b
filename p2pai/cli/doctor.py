"""`p2pai doctor`: is this machine fit for a node, and what to do where it isn't.

Nothing is changed. Exit status 1 when something must be mended.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from p2pai.chain.spec import ChainSpec
from p2pai.cli import options, screen
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.shell import config as node_config
from p2pai.shell.checkup import data_directory, machine
from p2pai.shell.checkup.finding import Finding, Level, fail, warn
from p2pai.shell.config import Config
from p2pai.shell.specs import load_spec

STYLES: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}

LISTEN_DEFAULT: Final = "/ip4/0.0.0.0/tcp/4001"
"""Looked at where no node has run yet and none is named; a node that others shall reach listens so."""


def doctor(
    *,
    bootstrap: Annotated[
        list[str] | None,
        typer.Option(metavar="MULTIADDR", help="A node to ask how it sees this machine; repeat for several."),
    ] = None,
    chain: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="The network; the node's own if not given.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(metavar="MULTIADDR", help="Where it would listen; the node's own if not given."),
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Check clock, ports, reachability, disk, memory, device, libraries and keys, and say what to do."""
    directory = options.expand(data_dir)
    before = _settings(directory)
    settings = Config(
        directory,
        chain or before.chain,
        listen=listen or before.listen,
        bootstrap=tuple(bootstrap or before.bootstrap),
    )
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        if not as_json:
            screen.show(render(finding))
    if as_json:
        screen.show_json([asdict(finding) for finding in findings])
    if any(finding.level is Level.FAIL for finding in findings):
        raise typer.Exit(1)


def examine(settings: Config) -> Iterator[Finding]:
    """Make every check, quick ones first."""
    spec = load_spec(settings.chain)
    for check in (data_directory.check_space, data_directory.check_writing, data_directory.check_privacy):
        yield check(settings.data_dir)
    yield data_directory.check_keys(settings.data_dir)
    yield data_directory.check_journal(settings.data_dir)
    yield machine.check_memory()
    yield machine.check_descriptors()
    yield machine.check_address_space()
    yield machine.check_libraries()
    with screen.busy("device: training a little; mostly 10 s"):
        device = machine.check_device()
    yield device
    yield from examine_network(settings, spec)


def examine_network(settings: Config, spec: ChainSpec) -> Iterator[Finding]:
    """Make the checks for which the network is needed."""
    with screen.busy("port: loading libp2p"):
        from p2pai.shell.checkup import network

        told = network.ask_node(settings.data_dir)
        port = network.check_port(settings.listen, held=() if told is None else told["addresses"])
    yield port
    if told is None:
        bootstrap = (*settings.bootstrap, *spec.bootstrap)
        if port.level is Level.FAIL:
            return
        if not bootstrap:
            yield warn(
                "reachability", "there is nobody to ask", "name a node of the network with --bootstrap"
            )
            return
        try:
            with screen.busy(f"remotes: asking them to call this machine, up to {network.LOOK_S_MAX:.0f} s"):
                told = network.look_around(settings.listen, bootstrap, spec.short_id)
        except (InvalidInput, Unavailable) as error:
            yield fail("remotes", str(error), "check --bootstrap and --listen")
            return
    yield network.check_remotes(told)
    if told["remotes"]:
        yield network.check_reach(told, settings.listen)
        yield network.check_clock(told, spec.params)


def render(finding: Finding) -> Text:
    """Show a finding: its level, what is there, and below it what to do."""
    line = Text.assemble(
        (f"{finding.level:<5}", STYLES[finding.level]),
        (f"{finding.check}: ", "bold"),
        screen.clean(finding.found),
    )
    if finding.advice:
        line.append_text(Text.assemble("\n      ", screen.clean(finding.advice)))
    return line


def _settings(directory: Path) -> Config:
    """Return what the node of a directory was started with; the usual, where none was."""
    try:
        record = node_config.find(directory)
    except InvalidInput:
        record = None
    return Config(directory, "devnet", listen=LISTEN_DEFAULT) if record is None else record.config
