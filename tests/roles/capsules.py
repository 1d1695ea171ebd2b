"""Blocks whose training is made up, and what a node has to be given before it replays one."""

from dataclasses import replace

from p2pai import effects, jobs
from p2pai.chain import it_res
from p2pai.chain.it_res import EndState
from p2pai.primitives import blob, record
from p2pai.primitives.ids import BlobId
from p2pai.roles import replaying
from p2pai.roles.history import PeerMessages
from tests.chain.ledger import Chain, label
from tests.roles.lone import Lone

NO_PEERS = record.encode(PeerMessages(()))


class Asking(Lone):
    """A node whose questions to its remotes are kept."""

    def _handle_blob(self, effect):
        if isinstance(effect, effects.Ask):
            vars(self).setdefault("asked", []).append(effect)
        super()._handle_blob(effect)


def made_up(applied=NO_PEERS, chain=None, **plan):
    """A chain with a block whose training is made up, but for the list of the peers' messages."""
    chain, name = chain or Chain(), blob.blob_id_of(applied)
    named = {"applied": name, "peer_count": 0, "peer_ids": it_res.hash_ids(())}
    chain.mine(previous=lambda m: replace(m, queued=name), lucky=lambda m: replace(m, **named), **plan)
    return chain


def capsule(chain):
    return replaying.lucky_iteration(chain.blocks[-1])


def give_parts(node, lucky, applied=NO_PEERS):
    """End all fetches; of the parts only the peers' list is looked at before the trainer."""
    for part in list(node.fetches):
        if part == lucky.message.applied:
            node.fetched(part, (applied,))
        else:
            node.fetched_large(part)


def false_end(lucky):
    """What a replay gives that differs from the record, and its precursor."""
    ends = (BlobId(label(part, "replayed")) for part in ("weights", "residual", "optimiser"))
    replayed = jobs.Replayed(EndState(*ends, label("witness")), label("start"), "metric loss differs")
    return replayed, it_res.precursor(replayed.after, lucky.message.message_map)


def replay(node, chain, *, honest=False):
    """Let a node get the capsule of a chain's last block, and the trainer answer."""
    lucky = capsule(chain)
    give_parts(node, lucky)
    if honest:
        node.core.judging._found(chain.blocks[-1].hash, lucky, replaying.Finding(lucky.message.nonce, ""))
        node.jobs.clear()
        perform(node)
    else:
        node.trained(false_end(lucky)[0])


def judge(node, block, **how):
    """Let a node want to know of a block, and ask for what it takes."""
    node.core.judging.begin(block, **how)
    perform(node)


def perform(node):
    """Carry out what a test made the node ask for, past its events."""
    for effect in node.core.take_effects():
        node._perform(effect)
