"""The command `p2pai`: every subcommand, and the one place where errors become sentences.

Exit status: 0 done, 1 refused or failed (one sentence on standard error), 2 wrong usage, 130 interrupted.
"""

import logging
import sys

import structlog
import typer

from p2pai import __version__
from p2pai.cli import (
    block,
    chain,
    dkg,
    doctor,
    faucet,
    identity,
    screen,
    sim,
    start,
    status,
    sweep,
    task,
    testnet,
    ticket,
    topic,
    transaction,
    wallet,
)
from p2pai.cli import replay as replay_command
from p2pai.cli import report as report_command
from p2pai.cli import train as train_command
from p2pai.primitives.errors import P2paiError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="A peer-to-peer network whose proof of work trains neural networks.",
)
app.command("start")(start.start)
app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("identity")(identity.identity)
app.add_typer(task.app, name="task")
app.add_typer(block.app, name="block")
app.add_typer(transaction.app, name="tx")
app.add_typer(chain.app, name="chain")
app.command("supply")(chain.supply)
app.add_typer(dkg.app, name="dkg")
app.add_typer(wallet.app, name="wallet")
app.add_typer(ticket.app, name="ticket")
app.add_typer(topic.app, name="topic")
app.add_typer(faucet.app, name="faucet")
app.command("replay")(replay_command.replay)
app.add_typer(testnet.app, name="testnet")
app.command("sim")(sim.sim)
app.command("report")(report_command.report)
app.command("sweep")(sweep.sweep)
app.command("train")(train_command.train)


@app.command("version")
def version() -> None:
    """Show the version."""
    screen.show_line(f"p2pai {__version__}")


def main() -> None:
    """Run the command line, and leave with its exit status; never shows a traceback for what we foresaw."""
    # Parts of the shell log what they do; only `p2pai start` has a log, and sets it up itself.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        app(prog_name="p2pai")
    except P2paiError as error:
        screen.complain(str(error))
        sys.exit(1)
    except BrokenPipeError:
        # The reader (head, less) has left; Python must not complain about it again on its way out.
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        # A full disk, a directory that is not ours: the rest of the machine refuses, wherever it was asked.
        what = f"{error.filename} can't be used: {error.strerror}" if error.filename else str(error)
        screen.complain(what)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
