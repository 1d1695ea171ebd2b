"""`p2pai topic`: what is said on the topics, live and from recordings."""

import typer

from p2pai.cli import (
    topic_diff,
    topic_numbers,
    topic_play,
    topic_publish,
    topic_record,
    topic_replay,
    topic_tap,
    topic_trace,
)

app = typer.Typer(
    no_args_is_help=True,
    help="See what is said on the network's topics: live, recorded, and lived through again.",
)
app.command("list")(topic_numbers.list_topics)
app.command("tap")(topic_tap.tap)
app.command("stats")(topic_numbers.stats)
app.command("mesh")(topic_numbers.mesh)
app.command("publish")(topic_publish.publish)
app.command("record")(topic_record.record)
app.command("replay")(topic_replay.replay)
app.command("diff")(topic_diff.diff)
app.command("trace")(topic_trace.trace)
app.command("play")(topic_play.play)
