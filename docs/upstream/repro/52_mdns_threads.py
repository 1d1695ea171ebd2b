"""mDNS writes what it hears into the peerstore from a thread of zeroconf's, beside trio's."""

import threading

import trio
from lab import make_host, run, running, tell
from libp2p.discovery.mdns.mdns import create_mdns_discovery


async def main():
    hosts = [make_host() for _ in range(2)]
    async with running(*hosts):
        store, writers = hosts[0].get_peerstore(), []
        stock = store.add_addrs

        def add_addrs(*arguments):
            writers.append(threading.current_thread())
            return stock(*arguments)

        store.add_addrs = add_addrs
        services = [create_mdns_discovery(host.get_network(), host=host) for host in hosts]
        for service in services:
            service.start()
        with trio.move_on_after(10):
            while not writers:
                await trio.sleep(0.1)
        for service in services:
            service.stop()
        others = {thread.name for thread in writers if thread is not threading.main_thread()}
        tell(bool(others), f"the peerstore was written to by {len(others)} other thread, {sorted(others)}")


run(main)
