"""What must hold in every history, checked at every step; each checker can fail, as a test shows.

A checker of the ledger is a pure function of a `Step`, one block between two states; it looks at what the
block could have touched, so that its cost follows the change. An audit looks at all rows of a state: now and
then, and at the end. A breach is a `Broken`, an AssertionError that begins with the invariant's number.

    I1 supply, I2 no debt and no double spending, I3 splits and slashes sum     money
    I4 a task's stages, I5 a ticket's one task and its stake                    tasks
    I6 checkpoints, I8 links, weight, the best tip                              chain
    I9 nonces, I10 draws; what is committed to before it is shown               earned, hidden
    I7 replays, I11 equal histories give equal states                           replays
    I12 one statement for a place, I13 durable before visible                   agreement, restarts
    I14 committees: slots; votes and conclusions; who is drawn                  slots, quorums, drawn
    I15 no sound node is thought ill of                                         standing
    I16 what a node holds, I17 what an event costs                              limits
    I18 a mempool's transactions are valid                                      pools
    I19 no key and no test data leave                                           privacy
    I20 recovery                                                                liveness

`Invariants` (watch.py) has all of them look at a simulated world; `Honesty` says of whom they hold.

Source: RELIABILITY (4).
"""

from testnet.simulator.invariants.agreement import Agreement, places_of
from testnet.simulator.invariants.earned import Earnings
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.ledgers import STEP_CHECKS, Ledgers, audit, check_step
from testnet.simulator.invariants.liveness import Liveness
from testnet.simulator.invariants.replays import check_ledgers
from testnet.simulator.invariants.step import Broken, Step
from testnet.simulator.invariants.watch import Invariants

__all__ = [
    "STEP_CHECKS",
    "Agreement",
    "Broken",
    "Earnings",
    "Honesty",
    "Invariants",
    "Ledgers",
    "Liveness",
    "Step",
    "audit",
    "check_ledgers",
    "check_step",
    "places_of",
]
