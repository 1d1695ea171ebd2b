"""`p2pai testnet`: a whole network of real nodes on this machine, calm or through a scenario.

Every node is an ordinary `p2pai start`, tied to this command: however it ends, they end. The work is done by
testnet.devnet, which is loaded when the command runs.
"""

import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2pai.cli import options, screen, sim_report
from p2pai.cli import report as report_command
from p2pai.primitives.errors import InvalidInput

if TYPE_CHECKING:
    from testnet.devnet.launch import Node
    from testnet.outcome import Outcome

app = typer.Typer(no_args_is_help=True, help="A network of real nodes on this machine.")

DIRECTORY_DEFAULT: Final = Path("testnet-run")
SEED_MAX: Final = 2**63 - 1
CHECK_S: Final = 1.0
"""Between two looks at whether all nodes still run."""

Tell = Callable[[str], None]


Scenarios = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="What happens to the network: see p2pai sim --list; else nothing does."
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=SEED_MAX, help="Of the faults: whom they strike, and when.")]
Nodes = Annotated[
    int | None, typer.Option(min=1, help="How many; the scenario's groups that scale grow or shrink.")
]
Directory = Annotated[
    Path, typer.Option(help="Where the nodes live; what an earlier network left there is replaced.")
]
Duration = Annotated[
    int | None,
    typer.Option(min=1, metavar="S", help="Seconds that faults go on, or that a calm network stands."),
]
Namespaces = Annotated[
    bool,
    typer.Option(
        "--namespaces",
        help="Give each node a network of its own, with the scenario's delays; faults of the network do that "
        "anyway. Needs root.",
    ),
]
SkipUnsupported = Annotated[
    bool, typer.Option("--skip-unsupported", help="Leave out what only the simulator can do.")
]
Keep = Annotated[bool, typer.Option("--keep", help="Let the network stand after its scenario, until Ctrl-C.")]
Report = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write a page with pictures: one HTML file, see `p2pai report`."),
]


@app.callback()
def group() -> None:
    """Run a network of real nodes on this machine."""


@app.command("up")
def up(
    *,
    scenario: Scenarios = None,
    seed: Seed = 1,
    nodes: Nodes = None,
    directory: Directory = DIRECTORY_DEFAULT,
    duration: Duration = None,
    namespaces: Namespaces = False,
    skip_unsupported: SkipUnsupported = False,
    keep: Keep = False,
    report: Report = None,
    as_json: options.AsJson = False,
) -> None:
    """Start a network that stands until Ctrl-C; or run a scenario on it, and judge what came of it.

    Exit status of a scenario: 0 only when no invariant was broken and all is as it expects.
    """
    tell, where = _teller(), directory.absolute()
    if scenario is None:
        if nodes is not None or report is not None or namespaces or skip_unsupported or keep or as_json:
            raise InvalidInput(
                "--nodes, --namespaces, --skip-unsupported, --keep, --report and --json go with --scenario"
            )
        with _interruptible():
            _stand(where, duration, tell)
        return

    from testnet.devnet.running import Options, run
    from testnet.simulator.loading import load

    if report is not None:
        report_command.check()
    chosen = Options(
        in_namespaces=namespaces,
        skips_unsupported=skip_unsupported,
        duration_s=duration,
        command=_command(scenario, seed, nodes, duration, namespaces=namespaces, skips=skip_unsupported),
        tell=tell,
        stay=_stay if keep else lambda _: None,
    )
    with _interruptible():
        outcome = run(load(scenario, nodes), seed, where, chosen)
    _show(outcome, report, where, as_json=as_json)
    if not outcome.is_passed:
        raise typer.Exit(1)


def _show(outcome: "Outcome", report: Path | None, directory: Path, *, as_json: bool) -> None:
    if report is not None:
        report_command.write([outcome], report)
    if as_json:
        screen.show_line(outcome.to_json().rstrip())
    else:
        screen.show(sim_report.one(outcome))
        screen.show_line(f"Nodes' directories, logs and recordings: {directory}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end everything as Ctrl-C does, and say that it did."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        screen.remark("interrupted; all nodes are ended")
        raise


def _command(
    scenario: str, seed: int, nodes: int | None, duration: int | None, *, namespaces: bool, skips: bool
) -> str:
    parts = ["p2pai testnet up --scenario", shlex.quote(scenario), f"--seed {seed}"]
    parts += [f"--nodes {nodes}"] if nodes is not None else []
    parts += [f"--duration {duration}"] if duration is not None else []
    parts += ["--namespaces"] if namespaces else []
    parts += ["--skip-unsupported"] if skips else []
    return " ".join(parts)


def _stand(directory: Path, duration: int | None, tell: Tell) -> None:
    from testnet.devnet.running import standing

    end_s = float("inf") if duration is None else time.monotonic() + duration
    with standing(directory, tell) as nodes:
        _greet(nodes.values())
        until = "Ctrl-C ends them all" if duration is None else f"they are ended {duration} s after the start"
        tell(f"all nodes answer; {until}")
        _watch(tuple(nodes.values()), end_s)
    tell("all nodes are ended")


def _stay(nodes: "tuple[Node, ...]") -> None:
    _greet(nodes)
    screen.remark("The network stands until Ctrl-C; then what came of the scenario is told.")
    try:
        _watch(nodes, float("inf"))
    except KeyboardInterrupt:
        screen.remark("ending the nodes")


def _watch(nodes: "tuple[Node, ...]", end_s: float) -> None:
    """Wait, until some time by the monotonic clock; NodeFailure when a node ends by itself."""
    while time.monotonic() < end_s:
        for node in nodes:
            node.check()
        time.sleep(CHECK_S)


def _greet(nodes: "Iterable[Node]") -> None:
    """Say how the nodes are talked to."""
    known = list(nodes)
    rows = [(n.plan.name, ", ".join(n.plan.roles), n.pid, n.rpc_url, n.directory) for n in known]
    screen.show(screen.table(("node", "roles", "pid>", "rpc", "data directory"), rows))
    client = next((node for node in known if "client" in node.plan.roles), known[0])
    prefix = " ".join(client.plan.place.prefix)
    before = f"{prefix} " if prefix else ""
    lines = [
        "",
        "Join it:     p2pai start --chain "
        f"{_chain_of(client)} --bootstrap {known[0].multiaddr} --data-dir ./mine",
        f"Look at it:  export P2PAI_DATA_DIR={client.directory}",
        *(f"  {before}p2pai {command}" for command in ("status", "block list", "task list", "topic list")),
        f"Order work:  {before}p2pai task submit examples/digits.yaml --watch",
    ]
    for line in lines:
        screen.show_line(line)


def _chain_of(node: "Node") -> str:
    return node.command[node.command.index("--chain") + 1]


def _teller() -> Tell:
    start_s = time.monotonic()

    def tell(sentence: str) -> None:
        screen.remark(f"[{time.monotonic() - start_s:6.1f} s] {sentence}")

    return tell


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
