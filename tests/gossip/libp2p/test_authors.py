"""What only some implementations of pubsub take is dropped, and costs nobody who passes it on."""

from typing import Any

import pytest
import trio
from gossip_lab import Start, meet, until
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.rsa import create_new_key_pair as create_large_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import signature_validator
from test_guest import follow, guest_on, stock_host
from test_hostile import GOSSIP, enemy_of, send

from p2pai.gossip.libp2p.authors import is_signed, is_understood
from p2pai.gossip.libp2p.reading import with_prefix

NUMBER = (1).to_bytes(8, "big")


def signed(key_pair: Any, seqno: bytes = NUMBER, author: bytes | None = None, key: bytes = b"") -> Any:
    author = ID.from_pubkey(key_pair.public_key).to_bytes() if author is None else author
    made = rpc_pb2.Message(data=b"data", topicIDs=["t"], from_id=author, seqno=seqno)
    made.signature = key_pair.private_key.sign(b"libp2p-pubsub:" + made.SerializeToString())
    made.key = key
    return made


def of_large_key(number: int = 1) -> Any:
    pair = create_large_key_pair(2048)
    return signed(pair, number.to_bytes(8, "big"), key=pair.public_key.serialize())


def test_what_all_take_is_understood() -> None:
    pair = create_new_key_pair()
    for message in (signed(pair), signed(pair, key=pair.public_key.serialize())):
        assert signature_validator(message)
        assert is_understood(message)
        assert is_signed(message)


def test_what_only_some_take_is_not() -> None:
    pair, other = create_new_key_pair(), create_new_key_pair()
    somebody_elses_key = signed(pair, key=other.public_key.serialize())
    for message in (of_large_key(), somebody_elses_key, signed(pair, b"\x01"), signed(pair, b"")):
        assert signature_validator(message), "the stock implementation takes it"
        assert not is_understood(message)


def test_an_author_has_one_name() -> None:
    pair = create_new_key_pair()
    wrapped = pair.public_key.serialize() + b"\x1a\x01x"
    message = signed(pair, author=b"\x00" + bytes([len(wrapped)]) + wrapped)
    assert not signature_validator(message)
    assert not is_understood(message)
    assert not is_signed(message)


@pytest.mark.trio
async def test_a_guest_is_not_shunned_for_what_its_host_takes(start: Start) -> None:
    # Three such messages had it no longer listened to, and soon banned.
    node = await start("n")
    async with stock_host() as owner, guest_on(owner, node) as guest:
        await meet(node, guest)
        await follow(node, guest)
        async with enemy_of(guest) as enemy:
            for number in range(3):
                frame = with_prefix(rpc_pb2.RPC(publish=[of_large_key(number)]).SerializeToString())
                await send(enemy, guest, GOSSIP, frame)
            await trio.sleep(0.3)
        await guest.network.publish("t", b"good")
        await until(lambda: b"good" in node.seen.messages)
        assert guest.seen.messages == []
        assert node.network.warden.report(guest.network.peer_id)["offences"] == {}
