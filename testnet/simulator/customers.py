"""The users of a scenario's clients: they order tasks, once more where a crash lost the order."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pai.chain.state import Stage, Task
from p2pai.node.orders import submission_id
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, PeerId, TaskId
from testnet.scenario.cast import client_of
from testnet.scenario.model import Scenario
from testnet.scenario.orders import name_of_task, order_of
from testnet.simulator.network import Network


@dataclass
class Customer:
    """Who wants one task."""

    client: PeerId
    at_ms: int
    """When it orders, since the start."""
    order: bytes
    number: int
    task: TaskId | None = None
    error: str = ""
    """Why its client's node refused the order the last time that it did."""


@dataclass
class Customers:
    """All of them."""

    scenario: Scenario
    network: Network
    waiting: Sequence[Customer] = field(init=False)

    def __post_init__(self) -> None:
        plans = enumerate(self.scenario.tasks, 1)
        self.waiting = [
            Customer(
                PeerId(client_of(self.scenario, plan.client)),
                plan.at_s * 1000,
                order_of(plan, self.network.spec, number),
                number,
            )
            for number, plan in plans
        ]

    def order(self, now_ms: int) -> None:
        """Order what is due and not known to its client: not yet, or no more after a crash."""
        for customer in self.waiting:
            if customer.at_ms <= now_ms and customer.client in self.network.cores:
                self._look_after(customer)

    def _look_after(self, customer: Customer) -> None:
        core = self.network.cores[customer.client]
        try:
            answer = core.query("submission", {"id": submission_id(customer.order).hex()})
        except InvalidInput:
            answer = {"state": "failed", "error": None}
        customer.error = answer["error"] or customer.error
        if answer["state"] == "posted":
            customer.task = TaskId(Hash32(bytes.fromhex(answer["task"])))
        elif answer["state"] == "failed":
            self.network.world.submit(customer.client, "task.submit", customer.order)

    def refusals(self) -> dict[str, str]:
        """Return why orders were refused of which no task came, by the task's name."""
        return {name_of_task(c.number): c.error for c in self.waiting if c.task is None and c.error}

    def are_served(self) -> bool:
        """Return whether every task is over, as its client sees it."""
        return all((task := self.row(c)) is not None and task.stage.is_over for c in self.waiting)

    def are_satisfied(self) -> bool:
        """Return whether, besides, every client of a paid task has its model."""
        return self.are_served() and all(self.has_model(c) for c in self.waiting)

    def has_model(self, customer: Customer) -> bool:
        """Return whether a customer has the model of its task, if it was paid."""
        task = self.row(customer)
        if task is None or task.stage is not Stage.PAID or customer.task is None:
            return True
        return f"{customer.task.hex()}.safetensors" in self.network.world.hosts[customer.client].delivered

    def row(self, customer: Customer) -> Task | None:
        """Return a customer's task as its client's tip has it."""
        core = self.network.cores.get(customer.client)
        return core.state.tasks.get(customer.task) if core and customer.task else None
