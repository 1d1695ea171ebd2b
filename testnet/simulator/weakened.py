"""Nodes without one of their defences: what the row of an adversary must not survive.

Each weakness takes one check out of all nodes of this process, for as long as its `with` block lasts. A
scenario names the one without which it must fail: if it does not, it tests nothing.

Source: RELIABILITY (2), meta-rules.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from p2pai import jobs
from p2pai.chain import evaluation, rewards, task_life, transition, verification, work
from p2pai.chain.fraud import Judgement
from p2pai.chain.params import Params
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State, Task
from p2pai.chain.transaction import Conclusion, FraudProof, Transaction
from p2pai.gossip.conduct import Conduct
from p2pai.node.accusations import Accusations
from p2pai.node.core import NodeCore
from p2pai.node.keeping import Keeping
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount, BlobId, Hash32, Outpoint
from p2pai.roles import replaying
from p2pai.roles.agreement import Agreement
from p2pai.roles.auditor import Auditor
from p2pai.roles.evaluator import Evaluator, Scoring
from p2pai.roles.recorder import Recorder
from p2pai.roles.replaying import Finding, LuckyIteration
from p2pai.roles.session import Session
from p2pai.roles.storage import Storage
from p2pai.roles.views import Views
from p2pai.roles.voting import Voting
from testnet.simulator.mesh import Mesh

PRETENDED_FEE_ATOMS: Final = 1_000_000
"""Enough to get into the mempool: of a transaction that has no fee at all."""


@dataclass(frozen=True)
class Weakness:
    """A defence that is gone."""

    about: str
    """What the nodes no longer do, one clause."""
    changes: tuple[tuple[object, str, object], ...]
    """A module or class of the node, a name in it, and what stands there instead."""

    @contextmanager
    def apply(self) -> Iterator[None]:
        """Take the defence away as long as the block lasts."""
        with ExitStack() as stack:
            for owner, name, value in self.changes:
                stack.enter_context(_changed(owner, name, value))
            yield


def without(about: str, *changes: tuple[object, str, object]) -> Weakness:
    """Return the weakness of nodes in which some names stand for something else."""
    return Weakness(about, changes)


@contextmanager
def _changed(owner: object, name: str, value: object) -> Iterator[None]:
    honest = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, honest)


def _nothing(*_: object, **__: object) -> None:
    """Do nothing, and refuse nothing."""


# --- what nodes do instead


def _believe_miner(lucky: LuckyIteration, replayed: jobs.Replayed) -> Finding:
    del replayed
    return Finding(lucky.message.nonce, "")


def _believe_accuser(self: Accusations, block: Hash32, tx: Transaction | None) -> None:
    if tx is not None and isinstance(tx.data, FraudProof):
        said = Judgement(tx.data.height, tx.data.ticket, tx.data.found, "somebody says so")
        self._core.ledger.tree.judged[block] = said
        self._core.admit(tx)


def _leave_unpunished(state: State, ticket: Outpoint, percent: int) -> State:
    del ticket, percent
    return state


def _wait_for_everyone(task: Task, height: int, params: Params) -> bool:
    del height, params
    return len(task.findings) == len(task.evaluators)


def _first_speaks_for_all(members: int) -> int:
    del members
    return 1


def _all_who_spoke(task: Task, conclusion: Conclusion) -> list[Outpoint]:
    del conclusion
    return [finding.ticket for finding in task.findings]


def _store_unseen(self: Storage, fragments: tuple[BlobId, ...], then: Callable[[], None]) -> None:
    del self, fragments
    then()


def _score_unseen(self: Scoring) -> None:
    self._inspected(jobs.Inspected(None, ""))


def _never(*_: object) -> bool:
    return False


def _always(*_: object) -> bool:
    return True


def _believe_balance(spent: int, tx: Transaction) -> Amount:
    fee = spent - sum(output.value for output in tx.outputs)
    return Amount(fee if fee >= 0 else PRETENDED_FEE_ATOMS)


def _old_rules(self: ChainSpec, height: int) -> Params:
    del height
    return self.params


WEAKNESSES: Final[dict[str, Weakness]] = {
    "no-replay": without(
        "verifiers approve what a miner recorded, and need not show that they replayed it",
        (replaying, "judge", _believe_miner),
        (verification, "_check_replayed", _nothing),
    ),
    "no-accusation": without("nobody proves what its replay found false", (NodeCore, "accuse", _nothing)),
    "no-auditor": without("nobody replays but a block's verifiers", (Auditor, "tip_changed", _nothing)),
    "accusers-believed": without(
        "who hears an accusation believes it", (Accusations, "hold", _believe_accuser)
    ),
    "commitment-unchecked": without(
        "a block need not be the one that its miner committed to", (work, "_check_iterations", _nothing)
    ),
    "rivals-kept": without(
        "who has another message for a place than its slot does not ask for that one",
        (Recorder, "want", _nothing),
    ),
    "silence-unpunished": without(
        "who keeps its verdict back loses nothing", (verification, "slash", _leave_unpunished)
    ),
    "no-view-change": without("a leader leads to the end of its term", (Views, "tick", _nothing)),
    "equivocation-unpunished": without(
        "nobody tells of a leader's two proposals for one place", (Agreement, "_accuse", _nothing)
    ),
    "order-unchecked": without("nobody counts the ballots again", (Voting, "_check_count", _nothing)),
    "scores-uncompared": without(
        "the first evaluator who reveals a conclusion concludes, and all who reveal any are paid",
        (evaluation, "quorum", _first_speaks_for_all),
        (rewards, "_agreeing", _all_who_spoke),
    ),
    "reveals-awaited": without(
        "a task is paid when all evaluators have revealed", (evaluation, "may_charge", _wait_for_everyone)
    ),
    "data-uninspected": without(
        "nobody looks whether data are what the task says",
        (Storage, "_look", _store_unseen),
        (Scoring, "_inspect", _score_unseen),
    ),
    "data-awaited": without("evaluators wait for test data for ever", (Evaluator, "_waited_long", _never)),
    "no-deadline": without("a task may train for ever", (task_life, "_is_late", _never)),
    "money-uncounted": without("outputs may exceed inputs", (transition, "_fee", _believe_balance)),
    "maps-unread": without("a node signs whatever its trainer says", (Session, "_is_sound", _always)),
    "upgrade-unheeded": without(
        "nobody changes rules at the height that was announced", (ChainSpec, "params_at", _old_rules)
    ),
    "offences-unblamed": without("nobody minds how a remote behaves", (Conduct, "blame", _nothing)),
    "nothing-offered": without("what a mesh did not bring is offered to nobody", (Mesh, "_offer", _nothing)),
    "nothing-final": without("no checkpoint makes anything final", (Keeping, "settle", _never)),
}
"""By the word that `weakened` and `--weaken` take."""


def weakness_of(name: str) -> Weakness:
    """Return a weakness by its word.

    Raises:
      InvalidInput: there is none.
    """
    if name not in WEAKNESSES:
        raise InvalidInput(f"there is no defence {name} to take away; known are {', '.join(WEAKNESSES)}")
    return WEAKNESSES[name]
