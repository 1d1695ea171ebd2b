"""Target: a peer keeps the chain and passes on what it hears; it owns nothing and promises nothing."""

from p2pai.effects import Verdict
from tests.chain.ledger import Chain
from tests.roles.lone import Lone


def test_it_follows_the_chain_and_posts_nothing():
    chain = Chain()
    lone = Lone(chain, 7, ("peer",))
    for _ in range(3):
        lone.mine()
    lone.wait(10_000)
    assert lone.core.state.tip == chain.state.tip
    assert lone.posted(object) == []


def test_it_passes_on_transactions_and_ignores_what_it_has_heard():
    chain = Chain()
    lone = Lone(chain, 7, ("peer",))
    tx = chain.fund(0).encoded
    assert lone.hear("tx", tx).verdict is Verdict.ACCEPT
    assert lone.hear("tx", tx).verdict is Verdict.IGNORE


def test_what_roles_say_to_each_other_does_not_concern_it():
    chain = Chain()
    lone = Lone(chain, 7, ("peer",))
    role = lone.role()
    assert role.said("message_history", chain.predefined, b"", b"") is Verdict.IGNORE
    assert lone.topics == [t for t in lone.topics if "/chain/" in t]
