"""Addresses are read with suspicion, and grouped by who is likely to own them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.addresses import Scope, host_scope, network_of, read
from p2pai.primitives.errors import InvalidMessage

ID = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
RELAY = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7eAR8cUPqN2hX"


@pytest.mark.parametrize(
    ("text", "network", "subnet", "scope"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "127.0.0.0/16", "127.0.0.0/24", Scope.MACHINE),
        ("/ip4/192.168.7.9/tcp/1", "192.168.0.0/16", "192.168.7.0/24", Scope.SITE),
        ("/ip4/169.254.7.9/tcp/1", "169.254.0.0/16", "169.254.7.0/24", Scope.SITE),
        ("/ip4/100.64.7.9/tcp/1", "100.64.0.0/16", "100.64.7.0/24", Scope.SITE),
        ("/ip4/8.8.4.4/tcp/65535", "8.8.0.0/16", "8.8.4.0/24", Scope.WORLD),
        ("/ip6/::1/tcp/1", "::/32", "::/48", Scope.MACHINE),
        ("/ip6/2a00:1450:4001:81b::1/tcp/1", "2a00:1450::/32", "2a00:1450:4001::/48", Scope.WORLD),
        ("/ip6/fe80::1/tcp/1", "fe80::/32", "fe80::/48", Scope.SITE),
    ],
)
def test_neighbours_and_scope(text, network, subnet, scope):
    address = read(f"{text}/p2p/{ID}")
    assert (address.network, address.subnet, address.scope, address.remote) == (network, subnet, scope, ID)
    assert network_of(address.host) == network
    assert host_scope(address.host) is scope


def test_behind_a_relay_the_relays_place_counts():
    address = read(f"/ip4/8.8.4.4/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{ID}")
    assert (address.remote, address.host) == (ID, "8.8.4.4")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"/ip4/1.2.3.4/tcp/1/p2p/{ID}/",
        f"/ip4/1.2.3/tcp/1/p2p/{ID}",
        f"/ip4/1.2.3.4/tcp/0/p2p/{ID}",
        f"/ip4/1.2.3.4/tcp/65536/p2p/{ID}",
        f"/ip4/1.2.3.4/udp/1/p2p/{ID}",
        "/ip4/1.2.3.4/tcp/1",
        f"/ip4/0.0.0.0/tcp/1/p2p/{ID}",
        f"/ip4/224.0.0.1/tcp/1/p2p/{ID}",
        f"/ip4/255.255.255.255/tcp/1/p2p/{ID}",
        f"/ip6/::/tcp/1/p2p/{ID}",
        f"/ip6/::ffff:127.0.0.1/tcp/1/p2p/{ID}",
        f"/ip6/1.2.3.4/tcp/1/p2p/{ID}",
        f"/dns4/example.org/tcp/1/p2p/{ID}",
        f"/dnsaddr/example.org/p2p/{ID}",
        f"/ip4/1.2.3.4/tcp/1/p2p/{ID}\n",
        "/ip4/1.2.3.4/tcp/1/p2p/" + "1" * 300,
    ],
)
def test_what_nobody_can_be_dialled_at_is_refused(text):
    with pytest.raises(InvalidMessage):
        read(text)


NEARLY = st.builds("/ip4/{}/tcp/{}/p2p/{}".format, st.text("0123456789."), st.integers(), st.just(ID))


@given(st.one_of(st.text(), NEARLY))
def test_any_text_is_read_or_refused(text):
    with suppress(InvalidMessage):
        assert read(text).text == text
