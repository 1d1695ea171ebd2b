"""What somebody passes on who hears the gossip and has no ledger: whatever is properly sealed for its topic.

Whoever takes part in a mesh and passes nothing on harms it; whoever passes on everything spreads garbage.
Without a ledger the signatures can still be checked, so what nobody signed ends here.

Source: docs/adr/0039-watching.md.
"""

from p2pai.chain.block import HEADER_SIZE
from p2pai.effects import Verdict
from p2pai.gossip import topics
from p2pai.gossip.envelope import open_envelope
from p2pai.primitives.errors import InvalidInput, InvalidMessage


def judge(topic: str, data: bytes) -> Verdict:
    """Return what becomes of a message; never raises."""
    try:
        parsed = topics.parse(topic)
    except InvalidMessage:
        # Somebody else's topic: nothing of it can be checked.
        return Verdict.IGNORE
    try:
        envelope = open_envelope(data, topic)
    except InvalidInput:
        return Verdict.REJECT
    # A header announces a block that can be asked of who said it; we could not give it.
    is_header = parsed.name == "block" and len(envelope.body) == HEADER_SIZE
    return Verdict.IGNORE if is_header else Verdict.ACCEPT
