"""Time and memory of connecting blocks, beside what the primitives alone cost in the same run.

    python -m benchmarks.ledger [--transfers 2000] [--blocks 10000] [--turns 5]

A block of transfers, each of one input and two outputs with a key of its own, is connected *cold* (from its
bytes, nothing known) and *warm* (its transactions waited in the mempool). The same transactions are *heard*
by a node, in gossip envelopes, which are one more signature and one more record each.

A chain of blocks without transactions, with real work proofs, is connected as a node does that keeps up (64
blocks at a time, their slot certificates together), block by block, and *trusted*, as a node does that reads
its own journal.

The floor is what the libraries take for the same bytes: one ECDSA verification for each signature, SHA-256
over each transaction twice (leaf and txid; warm: once), reading the CBOR; of a block without transactions
three ECDSA verifications, three hashes to the curve, reading one signature, the CBOR, and its share of two
pairings for 64 blocks.

Processor time of one core; medians of the turns. Compare "x floor" rather than milliseconds.
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from statistics import median

import cbor2
import coincurve
from blspy import G1Element, G2Element

from p2pai import events
from p2pai.chain import committee, transition, work
from p2pai.chain.block import Block, read_front
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.mempool import Mempool
from p2pai.chain.state import State
from p2pai.chain.transaction import Pay, Transaction, Transfer, signing_digest
from p2pai.gossip.envelope import seal
from p2pai.gossip.topics import Topic
from p2pai.node.core import NodeCore
from p2pai.primitives import bls, dkg
from p2pai.primitives.ids import Amount, BlsSignature, Hash32, Outpoint, PeerId
from testnet.simulator.disk import Disk
from tests.chain.ledger import CLIENT, FEE, Chain, devnet, key_hash, keys, secret_share

TOGETHER = 64
"""Blocks in one answer of a remote, whose certificates are checked at once."""

OUTPUTS = 500
"""Of each transaction that makes the coins to be spent."""

VALUE = Amount(1_000_000)
NOW_MS = 1_800_000_000_000


class Quick(Chain):
    """A chain made without its own checks: the certificates' secret is put together once."""

    secret = b""

    def certify(self, task_id: Hash32, statement: object, _: tuple[int, ...] = ()) -> BlsSignature:
        """Sign with the secret of the group key, which gives the bytes that the members' shares give."""
        if not self.secret:
            made = self.task(task_id).committee
            weights = dkg.lagrange(range(1, len(made.members) + 1))
            shares = {i: secret_share(made, i, keys(self.account(m))) for i, m in enumerate(made.members, 1)}
            total = sum(weights[i] * int.from_bytes(share, "big") for i, share in shares.items())
            self.secret = (total % dkg.BLS_ORDER).to_bytes(32, "big")
        return committee.sign(self.secret, statement)

    def connect(self, block: Block) -> Block:
        """Take a block that is right."""
        self.state = transition.apply_block(self.state, block, self.params, trusted=True)
        self.pool, self.queue = self.state, []
        self.blocks.append(block)
        return block


def timed(act: Callable[[], object], turns: int = 1) -> float:
    """Return the median processor time of an action, milliseconds."""
    taken = []
    for _ in range(turns):
        gc.collect()
        start = time.process_time()
        act()
        taken.append((time.process_time() - start) * 1e3)
    return median(taken)


def row(name: str, ms: float, floor: float, more: str = "") -> None:
    """Print a line of the table."""
    print(f"| {name} | {ms:.3g} | {floor:.3g} | {ms / floor:.2f} | {more} |", flush=True)


def head(what: str) -> None:
    """Print the head of a table."""
    print(f"\n| {what} | ms | floor, ms | x floor | |\n|---|---|---|---|---|", flush=True)


# --- a block of transfers


def coins(chain: Chain, count: int) -> list[Outpoint]:
    """Mine blocks that give `count` accounts a coin each; return the coins in the order of the accounts."""
    found: list[Outpoint] = []
    while len(found) < count:
        accounts = range(len(found), min(len(found) + OUTPUTS, count))
        tx = chain.post(CLIENT, outputs=tuple(Pay(VALUE, key_hash(a)) for a in accounts))
        found += [Outpoint(tx.txid, i) for i in range(len(accounts))]
        chain.mine()
    return found


def transfers(chain: Chain, count: int) -> list[Transaction]:
    """Return `count` transfers, each by another account."""
    made = []
    for account, coin in enumerate(coins(chain, count)):
        outputs = (Pay(VALUE // 2, key_hash(account + 1)), Pay(VALUE - VALUE // 2 - FEE, key_hash(account)))
        made.append(chain.sign(Transaction(1, (coin,), outputs, Transfer()), account))
    return made


def signatures(txs: Sequence[Transaction], chain: Hash32) -> list[tuple[bytes, bytes, bytes]]:
    """Return key, digest and signature of each transaction."""
    return [(tx.witnesses[0].key, signing_digest(tx, chain), tx.witnesses[0].signature) for tx in txs]


def check(signed: Sequence[tuple[bytes, bytes, bytes]]) -> None:
    """Verify signatures with the library alone."""
    for key, digest, signature in signed:
        assert coincurve.PublicKey(key).verify(signature, digest, hasher=None)


def hash_all(parts: Sequence[bytes]) -> None:
    """Hash each part."""
    for part in parts:
        sha256(part).digest()


def measure_transfers(count: int, turns: int) -> None:
    """Connect a block of transfers, cold and warm."""
    chain = Quick()
    txs = transfers(chain, count)
    before, params = chain.state, chain.params
    block = chain.draft(transactions=txs)
    data, bodies = block.encoded, [tx.encoded for tx in txs]
    pool = Mempool(before, params)
    for body in bodies:
        pool.add(Transaction.decode(body))
    signed = signatures(txs, before.chain)
    ecdsa_ms = timed(lambda: check(signed), turns)
    hash_ms = timed(lambda: hash_all(bodies), turns)
    cbor_ms = timed(lambda: [cbor2.loads(body) for body in bodies], turns)

    def connect(state: State, *, warm: bool) -> None:
        known = {tx.wtxid: tx for tx in pool.transactions()} if warm else {}
        transition.apply_block(state, Block.decode(data, known), params, verified=known)

    head(f"block of {count} transfers, {len(data):,} bytes")
    print(f"| floor: {count} ECDSA verifications | {ecdsa_ms:.3g} | | | |")
    print(f"| floor: SHA-256 over the transactions, once | {hash_ms:.3g} | | | |")
    print(f"| floor: reading their CBOR | {cbor_ms:.3g} | | | |")
    row(
        "cold",
        timed(lambda: connect(before, warm=False), turns),
        ecdsa_ms + 2 * hash_ms + cbor_ms,
        "goal 500 ms",
    )
    row("warm", timed(lambda: connect(before, warm=True), turns), hash_ms, "goal 150 ms")
    messages = seal_all(bodies)
    hear_ms = timed(lambda: hear(chain, messages), turns) / count
    floor_ms = (2 * ecdsa_ms + 3 * hash_ms + 2 * cbor_ms) / count
    row("one transaction heard by a node", hear_ms, floor_ms, f"{1e3 / hear_ms:,.0f}/s, goal 1,000/s")


def seal_all(bodies: Sequence[bytes]) -> list[events.Received]:
    """Return transactions as gossip brings them."""
    topic, sender = str(Topic(devnet().short_id, None, "tx")), keys(CLIENT).spending
    remote = PeerId("remote")
    return [events.Received(remote, topic, seal(sender, topic, i, body)) for i, body in enumerate(bodies)]


def hear(chain: Chain, messages: Sequence[events.Received]) -> None:
    """Give a node transactions by gossip, until all wait in its mempool."""
    node = NodeCore(devnet(), keys(CLIENT), PeerId("node"), ("peer",), Disk())
    for block in chain.blocks:
        node.ledger.tree.add(block, trusted=True)
    node.ledger.restore(None, ())
    for message in messages:
        node.handle(message, NOW_MS)
    assert len(node.ledger.mempool) == len(messages)


# --- blocks without transactions


def empty_blocks(count: int) -> list[bytes]:
    """Make a chain of blocks with real work proofs."""
    chain = Quick()
    start = time.process_time()
    for _ in range(count):
        chain.mine()
    print(f"\nmade {count:,} blocks in {time.process_time() - start:.0f} s", flush=True)
    return [block.encoded for block in chain.blocks]


def chunks(datas: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Yield what comes in one answer."""
    for start in range(0, len(datas), TOGETHER):
        yield datas[start : start + TOGETHER]


def connect_together(datas: Sequence[bytes]) -> BlockTree:
    """Connect blocks as a node does that keeps up."""
    tree = BlockTree(devnet())
    for chunk in chunks(datas):
        found = work.verify_together([read_front(data) for data in chunk], tree.state)
        for data in chunk:
            tree.add(Block.decode(data), verified=dict.fromkeys(found))
    return tree


def connect_alone(datas: Sequence[bytes], *, trusted: bool) -> BlockTree:
    """Connect blocks one by one."""
    tree = BlockTree(devnet())
    for data in datas:
        tree.add(Block.decode(data), trusted=trusted)
    return tree


def empty_floor_ms(datas: Sequence[bytes]) -> float:
    """Return what the libraries take for one block without transactions, milliseconds."""
    secret, digest = bytes(31) + b"\x07", bytes(32)
    key, signature = G1Element.from_bytes(bls.public_key(secret)), bls.sign(secret, digest)
    mine = coincurve.PrivateKey(secret)
    signed = [(mine.public_key.format(), digest, mine.sign(digest, hasher=None))] * 3 * TOGETHER
    chunk = datas[:TOGETHER]

    def floor() -> None:
        check(signed)
        hash_all(chunk)
        for data in chunk:
            cbor2.loads(data)
            G2Element.from_bytes(signature)
            points = [G2Element.from_message(digest, b"suite") for _ in range(3)]
        assert key.pair(points[0]) != key.pair(points[0] + points[1])

    return timed(floor, 5) / len(chunk)


def memory_bytes(datas: Sequence[bytes]) -> float:
    """Return what each block takes that is kept with the state after it, bytes."""
    tracemalloc.start()
    tree = connect_alone(datas, trusted=True)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert tree.state.height == len(datas)
    return held / len(datas)


def measure_empty(count: int) -> None:
    """Connect a chain of blocks without transactions."""
    datas = empty_blocks(count)
    floor = empty_floor_ms(datas)
    size = sum(map(len, datas)) / count
    some = datas[:2_000]
    head(f"one of {count:,} empty blocks, {size:,.0f} bytes each")
    ms = timed(lambda: connect_together(datas)) / count
    row("full check, 64 at once", ms, floor, f"{1e3 / ms:,.0f}/s, goal 500/s")
    ms = timed(lambda: connect_alone(some, trusted=False)) / len(some)
    row("full check, one by one", ms, floor, f"{1e3 / ms:,.0f}/s")
    ms = timed(lambda: connect_alone(datas, trusted=True)) / count
    row("trusted", ms, floor, f"{1e3 / ms:,.0f}/s")
    print(f"\nmemory: {memory_bytes(some):,.0f} bytes for each block kept with its state")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--transfers", type=int, default=2_000)
    parser.add_argument("--blocks", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    measure_transfers(arguments.transfers, arguments.turns)
    measure_empty(arguments.blocks)


if __name__ == "__main__":
    main()
