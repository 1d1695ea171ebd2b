"""Connections and streams are bounded, and their slots come back."""

import pytest
import trio
from gossip_lab import CHAIN, Start, until
from libp2p.crypto.ed25519 import create_new_key_pair

from p2pai.gossip.admission import Limits, Refusal
from p2pai.gossip.buckets import Rate
from p2pai.gossip.libp2p import doorman, own_host
from p2pai.gossip.libp2p.doorman import Doorman
from p2pai.gossip.scores import BAN_S, Offence
from testnet.devnet import enemy
from testnet.devnet.enemy import Target

FEW = Limits(inbound=4, half_made=3, per_remote=2, rate=Rate(1000, 1000))


@pytest.fixture
def doormen(monkeypatch: pytest.MonkeyPatch) -> list[Doorman]:
    made: list[Doorman] = []

    def hire(host, limits, warden):
        made.append(Doorman(host, FEW, warden))
        return made[-1]

    monkeypatch.setattr(own_host, "Doorman", hire)
    return made


def target_of(node) -> Target:
    _, _, ip, _, port, _, peer_id = node.network.addresses[0].split("/")
    return Target(ip, int(port), peer_id, CHAIN)


@pytest.mark.trio
async def test_slots_come_back_when_connections_go(start: Start, doormen: list[Doorman]) -> None:
    # The library keeps the slot of every connection that it ever accepted.
    node = await start("n")
    for _ in range(3 * FEW.inbound):
        one = await enemy.meet(target_of(node), create_new_key_pair())
        one.close()
        await until(lambda: doormen[0].admission.inbound == 0)
    assert doormen[0].refusals == {}


@pytest.mark.trio
async def test_connections_beyond_the_bounds_are_reset(start: Start, doormen: list[Doorman]) -> None:
    node = await start("n")
    silent = [await enemy.dial(target_of(node)) for _ in range(10)]
    await until(lambda: sum(doormen[0].refusals.values()) == 7)
    assert doormen[0].refusals == {Refusal.HALF_MADE: 7}
    for one in silent:
        one.socket.close()
    await until(lambda: doormen[0].admission.inbound == 0)
    kept = [await enemy.meet(target_of(node), create_new_key_pair()) for _ in range(FEW.inbound)]
    with pytest.raises(Exception):  # noqa: B017, PT011
        await enemy.meet(target_of(node), create_new_key_pair())
    assert doormen[0].refusals[Refusal.FULL] == 1
    assert all(one.is_alive for one in kept)
    for one in kept:
        one.close()


@pytest.mark.trio
async def test_a_handshake_has_a_deadline(
    start: Start, doormen: list[Doorman], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorman, "HANDSHAKE_S_MAX", 0.2)
    node = await start("n")
    silent = await enemy.dial(target_of(node))
    await until(lambda: doormen[0].admission.half_made == 1)
    await until(lambda: doormen[0].admission.inbound == 0, 2)
    silent.socket.close()


@pytest.mark.trio
async def test_one_remote_has_two_connections(start: Start, doormen: list[Doorman]) -> None:
    node = await start("n")
    key_pair = create_new_key_pair()
    several = [await enemy.meet(target_of(node), key_pair) for _ in range(3)]
    await until(lambda: [one.is_alive for one in several] == [True, True, False])
    for one in several:
        one.close()


@pytest.mark.trio
async def test_frames_beyond_a_window_end_the_connection_and_ban_the_remote(
    start: Start, nursery: trio.Nursery
) -> None:
    node = await start("n")
    one = await enemy.meet(target_of(node), create_new_key_pair())
    nursery.start_soon(one.read)
    stream = await one.open("/ipfs/ping/1.0.0")
    with trio.fail_after(5):
        while one.is_alive:
            try:
                await one.send(stream, bytes(1 << 20), heed_window=False)
            except Exception:  # noqa: BLE001
                break
    scores = node.network.warden.conduct.scores
    await until(lambda: scores._bans)
    (remote,) = scores._bans
    assert scores.offences(remote)[Offence.OVERRUN] >= 1
    assert 0 < scores.ban_ms(remote, int(trio.current_time() * 1000)) <= BAN_S * 1000
    one.close()
