"""A node's network without its ledger, for laboratories: prints what it sees, says something now and then.

    python nat_node.py JSON

JSON: name, identity (file), listen, bootstrap (list), ways (of `traversal.Ways`). Each half second it says
something on a topic and prints one line of JSON: its id, the addresses it tells, what remotes say of it, to
whom it has which connections, and what it heard.
"""

import json
import sys
from pathlib import Path

import trio

from p2pai.effects import Verdict
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.gossip.libp2p.traversal import Ways

TOPIC = "lab"


class Hearer:
    def __init__(self):
        self.heard = []

    def received(self, remote, topic, data):
        self.heard.append(data.decode())
        return Verdict.ACCEPT

    async def asked(self, remote, body):
        return body[::-1]

    def connected(self, remote):
        pass

    def disconnected(self, remote):
        pass

    def manifest(self, blob):
        return None

    def chunk(self, blob, index):
        return None


def ways(connections):
    """Return how each connection to one remote goes."""
    texts = [str(address) for one in connections for address in one.get_transport_addresses()]
    return ["circuit" if "/p2p-circuit" in text else "direct" for text in texts]


async def report(network, hearer):
    while True:
        outlook = network.outlook()
        swarm = network._host.get_network()
        line = {
            "id": network.peer_id,
            "tells": [str(address) for address in network._host.get_addrs()],
            "reach": str(outlook.reach),
            "tried_by": outlook.tried_by,
            "reached_at": outlook.addresses,
            "links": sorted(network.remotes()),
            "connections": {str(remote): ways(here) for remote, here in swarm.connections.items()},
            "heard": hearer.heard[-4:],
        }
        print(json.dumps(line), flush=True)
        await trio.sleep(0.5)


async def say(network, name):
    number = 0
    while True:
        await network.publish(TOPIC, f"{name} {number}".encode())
        number += 1
        await trio.sleep(0.5)


async def main():
    plan = json.loads(sys.argv[1])
    hearer = Hearer()
    mount = OwnHost(Path(plan["identity"]), [plan["listen"]], ways=Ways(**plan["ways"]))
    network = Network(mount, plan["bootstrap"], "0a1b2c3d", hearer)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        await network.join(TOPIC)
        nursery.start_soon(report, network, hearer)
        nursery.start_soon(say, network, plan["name"])


trio.run(main)
