"""A program that stands in for `p2pai` where only its being a process matters.

    python -m tests.testnet.stand_in BEHAVIOUR start --data-dir DIR ...

`obey` waits for a signal; `defy` ignores SIGTERM and has a child; `fail` ends at once; `serve` answers
node.status over the real RPC.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path


class OneAnswer:
    def query(self, method, params):
        return {"method": method, "peer_id": "12D3KooWstandin", "params": params}

    def feed(self, event):
        raise AssertionError(event)


def main():
    behaviour, arguments = sys.argv[1], sys.argv[2:]
    print("arguments", *arguments, flush=True)
    if behaviour == "fail":
        sys.exit("p2pai: the port is taken")
    if behaviour == "serve":
        import trio

        directory = Path(arguments[arguments.index("--data-dir") + 1])
        trio.run(serve, directory)
    if behaviour == "defy":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        print("child", child.pid, flush=True)
    time.sleep(300)


async def serve(directory):
    import trio

    from p2pai.shell import rpc

    async with trio.open_nursery() as nursery:
        await nursery.start(rpc.run_server, OneAnswer(), directory, 0, ())


main()
