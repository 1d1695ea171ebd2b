"""The auditor: replays every block of the best chain while its window is open, and proves what is false.

It needs no ticket and answers to nobody: one honest auditor is enough to undo what all of a block's verifiers
were paid to approve. It falls behind rather than queue up: a block whose window is over is left alone.

Source: PROTOCOL section 9.
"""

from typing import ClassVar

from p2pai.roles.base import Role
from p2pai.roles.proving import prove


class Auditor(Role):
    """See the module."""

    name: ClassVar[str] = "auditor"

    def tip_changed(self) -> None:
        """Look at the blocks that nobody here has looked at."""
        newest = sorted(self.node.state.pending.items(), reverse=True)
        for _, block in newest:
            if block not in self.node.judged:
                self.node.judge(block)
        prove(self.node)
