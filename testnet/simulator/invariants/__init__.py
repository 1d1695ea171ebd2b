"""What must hold in every history, checked at every step; each checker can fail, as a test shows.

A checker of the ledger is a pure function of a `Step`, one block between two states; it looks at what the
block could have touched, so that its cost follows the change. An audit looks at all rows of a state: now and
then, and at the end. A breach is a `Broken`, an AssertionError that begins with the invariant's number.

    I1 supply, I2 no debt and no double spending, I3 splits and slashes sum     money
    I4 a task's stages, I5 a ticket's one task and its stake                    tasks
    I6 checkpoints, I8 links, weight, the best tip                              chain
    I9 nonces, I10 draws                                                        earned
    I7 replay from genesis, I11 equal histories give equal states               replays
    I12 one statement for a place, I13 durable before visible                   agreement

Source: RELIABILITY (4).
"""

from testnet.simulator.invariants.agreement import Agreement, places_of
from testnet.simulator.invariants.earned import Earnings
from testnet.simulator.invariants.replays import check_ledgers
from testnet.simulator.invariants.step import Broken, Step
from testnet.simulator.invariants.watch import STEP_CHECKS, Watch, audit, check_step

__all__ = [
    "STEP_CHECKS",
    "Agreement",
    "Broken",
    "Earnings",
    "Step",
    "Watch",
    "audit",
    "check_ledgers",
    "check_step",
    "places_of",
]
