"""`p2pai topic`: what is said on the topics, live and from recordings."""

import typer

from p2pai.cli import topic_record

app = typer.Typer(
    no_args_is_help=True,
    help="See what is said on the network's topics: live, recorded, and lived through again.",
)
app.command("record")(topic_record.record)
