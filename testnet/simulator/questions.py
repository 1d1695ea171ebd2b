"""Questions that nodes ask each other, and what becomes of them: an answer, or none in time."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from p2pai import effects, events
from p2pai.primitives.ids import PeerId
from testnet.simulator.connections import Agenda
from testnet.simulator.host import Host, Hosts
from testnet.simulator.links import Links

ANSWER_MS_MAX: Final = 5_000
"""After this, a question to a remote that is gone has failed."""

ASK_MS_MAX: Final = 10_000
"""After this, a question that a remote has not answered has failed. Source: shell/runtime.py, ASK_S_MAX."""


@dataclass(frozen=True, slots=True)
class _Question:
    asker: Host
    life: int
    remote: PeerId
    request: int
    """The asker's number for it."""


class Questions:
    """Those that wait for an answer."""

    def __init__(self, agenda: Agenda, hosts: Hosts, links: Links, fired: Counter[str]) -> None:
        self._agenda, self._hosts, self._links, self._fired = agenda, hosts, links, fired
        self._waiting: dict[int, _Question] = {}
        self._count = 0

    def ask(self, host: Host, effect: effects.Ask) -> None:
        """Send a question on its way."""
        self._count += 1
        ticket = self._count
        self._waiting[ticket] = _Question(host, host.life, effect.remote, effect.request)
        delay_ms = None
        if effect.remote in host.remotes:
            delay_ms = self._links.stream(host.name, effect.remote, len(effect.body))
        if delay_ms is None:
            self.fail(ticket)
            return
        asked = events.Asked(ticket, host.name, effect.body)
        self._agenda.post(self._hosts[effect.remote], delay_ms, asked)
        self._agenda.at(ASK_MS_MAX, "deadline", lambda: self._expire(ticket))

    def answer(self, host: Host, effect: effects.Answer) -> None:
        """Send an answer on its way, unless nobody waits for it any more."""
        question = self._waiting.get(effect.request)
        if question is None or question.remote != host.name:
            return
        delay_ms = self._links.stream(host.name, question.asker.name, len(effect.body))
        if delay_ms is None:
            return  # the asker waits in vain
        del self._waiting[effect.request]
        self._tell(question, delay_ms, effect.body)

    def fail(self, ticket: int) -> None:
        """Let the asker know, after a while, that its question got nowhere."""
        question = self._waiting.pop(ticket, None)
        if question is not None:
            self._fired["unanswered"] += 1
            self._tell(question, ANSWER_MS_MAX, None)

    def _expire(self, ticket: int) -> None:
        question = self._waiting.pop(ticket, None)
        if question is not None:
            self._fired["unanswered"] += 1
            self._tell(question, 0, None)

    def _tell(self, question: _Question, delay_ms: int, body: bytes | None) -> None:
        if question.asker.life == question.life:
            answered = events.Answered(question.request, question.remote, body)
            self._agenda.post(question.asker, delay_ms, answered)
