"""The users of a scenario's clients, over RPC: they order tasks, again where an order was lost, and wait."""

from dataclasses import dataclass
from typing import Any, Final

from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import Stage
from p2pai.primitives import cbor
from p2pai.shell.rpc import submission_id
from testnet.devnet.crew import Crew
from testnet.scenario.cast import client_of
from testnet.scenario.model import Scenario, TaskPlan
from testnet.scenario.orders import order_of

ORDER_BYTES_MAX: Final = 1 << 20


@dataclass
class Customer:
    """Who wants one task."""

    client: str
    at_s: int
    """When it orders, since the start."""
    order: dict[str, Any]
    stage: str = ""
    """Of the task, as its client saw it last."""
    has_model: bool = False

    @property
    def is_served(self) -> bool:
        """Whether the task is over."""
        return self.stage in tuple(stage.value for stage in Stage if stage.is_over)

    @property
    def is_satisfied(self) -> bool:
        """Whether, besides, the model of a paid task is there."""
        return self.is_served and (self.has_model or self.stage != Stage.PAID.value)


class Customers:
    """All of them."""

    def __init__(self, scenario: Scenario, spec: ChainSpec, crew: Crew) -> None:
        """Plan the orders."""
        self._crew = crew
        self.waiting = [
            Customer(
                client_of(scenario, plan.client),
                plan.at_s,
                params_of(plan, spec, number),
            )
            for number, plan in enumerate(scenario.tasks, 1)
        ]

    def look(self, now_s: float) -> None:
        """Order what is due and not known to its client, and see how far the others' tasks are."""
        for customer in self.waiting:
            if customer.at_s <= now_s and self._crew.answers(customer.client):
                self._look_after(customer)

    def _look_after(self, customer: Customer) -> None:
        client, order = customer.client, customer.order
        answer = self._crew.ask(client, "submission", id=submission_id(order))
        if answer is None or answer["state"] == "failed":
            # Not yet ordered, or lost with a client that was killed; the same order twice is one order.
            self._crew.ask(client, "task.submit", **order)
        elif answer["state"] == "posted":
            progress = self._crew.ask(client, "task.progress", task=answer["task"])
            if progress is not None:
                customer.stage, customer.has_model = progress["state"], bool(progress["model_path"])

    def are_served(self) -> bool:
        """Return whether every task is over, as its client sees it."""
        return all(customer.is_served for customer in self.waiting)

    def are_satisfied(self) -> bool:
        """Return whether, besides, every client of a paid task has its model."""
        return all(customer.is_satisfied for customer in self.waiting)


def params_of(plan: TaskPlan, spec: ChainSpec, number: int) -> dict[str, Any]:
    """Return an order as the RPC takes it."""
    order = cbor.decode(order_of(plan, spec, number), size_max=ORDER_BYTES_MAX)
    assert isinstance(order, dict), "an order is a table"
    return order
