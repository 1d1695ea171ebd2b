"""Memory limits given to the resource manager are kept and never checked."""

import trio
from lab import connect, make_host, run, running, tell
from libp2p.rcmgr import new_resource_manager
from libp2p.rcmgr.memory_limits import MemoryConnectionLimits


async def main():
    limits = MemoryConnectionLimits(max_process_memory_bytes=1)
    host, other = make_host(resource_manager=new_resource_manager(memory_limits=limits)), make_host()
    async with running(host, other):
        try:
            await connect(other, host)
        except Exception as error:
            tell(False, f"refused: {error}")
        await trio.sleep(0.5)
        tell(other.get_id() in host.get_connected_peers(), "connected, though one byte of memory was allowed")


run(main)
