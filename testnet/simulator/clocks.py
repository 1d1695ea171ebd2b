"""What a node's own clock says, while the world's time is the true one.

A node reads its clock through `p2pai.shell.clock.Clock`, as in a process: small steps back are waited out.
Timers don't follow it: they run on monotonic time in a process too (shell/timers.py).
"""

NS_PER_MS = 1_000_000


class NodeClock:
    """One machine's wall clock; true until it is set otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name
