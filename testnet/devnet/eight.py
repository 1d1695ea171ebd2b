"""The devnet's eight nodes: whom its genesis knows, and what each of them does.

Account 0 is the client, 1 to 3 are the committee, 4 to 6 mine, and 7, which all others join by, relays only.
"""

from typing import Final

from testnet.devnet.launch import Plan

COMMITTEE: Final = ("supervisor", "verifier", "evaluator")
CLIENT: Final = "client"
BOOTSTRAP: Final = Plan("bootstrap", 7, ("peer",))
WORKERS: Final = (
    *(Plan(f"committee-{n}", n, COMMITTEE) for n in (1, 2, 3)),
    *(Plan(f"miner-{n}", n + 3, ("miner",)) for n in (1, 2, 3)),
)
PLANS: Final = (BOOTSTRAP, Plan(CLIENT, 0, ("client",)), *WORKERS)
