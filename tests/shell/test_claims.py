"""A faucet's limits: each of them, after restarts too, and against a naive count."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidInput
from p2pai.shell import claims
from p2pai.shell.claims import (
    ADDRESS_DAY_MAX,
    CLIENT_DAY_MAX,
    DAY_S,
    HOUR_S,
    TooMany,
    client_name,
    open_claims,
)

NOW_S = 1_800_000_000


@pytest.fixture
def opened(tmp_path):
    with open_claims(tmp_path, hour_max=5) as made:
        yield made


def refused(made, *claim):
    with pytest.raises(TooMany) as caught:
        made.grant(*claim)
    return caught.value


def test_an_address_gets_its_coins_once_a_day(opened):
    opened.grant("a", "1", NOW_S)
    error = refused(opened, "a", "2", NOW_S + 100)
    assert str(error) == "this address has had its coins; come back in 23 hours"
    assert error.wait_s == DAY_S - 100
    assert (
        str(refused(opened, "a", "2", NOW_S + DAY_S - 1))
        == "this address has had its coins; come back in a minute"
    )
    opened.grant("a", "2", NOW_S + DAY_S)


def test_a_client_claims_for_a_few(opened):
    for n in range(CLIENT_DAY_MAX):
        opened.grant(f"a{n}", "1", NOW_S + n)
    error = refused(opened, "b", "1", NOW_S + 10)
    assert "from where you are" in str(error)
    assert error.wait_s == DAY_S - 10, "until the oldest of them is a day old"
    opened.grant("b", "2", NOW_S + 10)


def test_all_together_are_limited(opened):
    for n in range(5):
        opened.grant(f"a{n}", str(n), NOW_S)
    error = refused(opened, "b", "b", NOW_S + 60)
    assert str(error) == "the faucet has given enough for this hour; come back in 59 minutes"
    opened.grant("b", "b", NOW_S + HOUR_S)


def test_what_was_refused_does_not_count(opened):
    opened.grant("a", "1", NOW_S)
    for _ in range(10):
        refused(opened, "a", "2", NOW_S)
    for n in range(CLIENT_DAY_MAX):
        opened.grant(f"b{n}", "2", NOW_S)


def test_what_was_not_paid_is_taken_back(opened):
    opened.take_back(opened.grant("a", "1", NOW_S))
    opened.grant("a", "1", NOW_S)


def test_limits_survive_a_restart(tmp_path):
    for n in range(CLIENT_DAY_MAX):
        with open_claims(tmp_path) as made:
            made.grant(f"a{n}", "1", NOW_S)
    with open_claims(tmp_path) as made:
        refused(made, "a0", "2", NOW_S + 1)
        refused(made, "b", "1", NOW_S + 1)
    assert (tmp_path / claims.FILE_NAME).stat().st_mode & 0o077 == 0


def test_old_claims_take_no_room(opened):
    for day in range(20):
        opened.grant(f"a{day}", f"{day}", NOW_S + day * DAY_S)
    assert opened._database.execute("SELECT count(*) FROM claims").fetchone() == (1,)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("12"), st.integers(0, DAY_S // 2)), max_size=25
    )
)
def test_as_a_naive_count_has_it(asked):
    now_s, granted = NOW_S, []
    made = claims.Claims(claims.sqlite3.connect(":memory:"), 5)
    made._database.executescript(claims._SCHEMA)
    for address, client, pause_s in asked:
        now_s += pause_s
        day = [g for g in granted if g[2] > now_s - DAY_S]
        hour = [g for g in granted if g[2] > now_s - HOUR_S]
        is_free = (
            Counter(g[0] for g in day)[address] < ADDRESS_DAY_MAX
            and Counter(g[1] for g in day)[client] < CLIENT_DAY_MAX
            and len(hour) < 5
        )
        try:
            made.grant(address, client, now_s)
        except TooMany:
            assert not is_free
        else:
            assert is_free
            granted.append((address, client, now_s))


def test_a_file_that_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / claims.FILE_NAME).write_bytes(b"no database" * 100)
    with pytest.raises(InvalidInput, match="move it away"), open_claims(tmp_path):
        pass


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "2001:db8:1:2::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("", ""),
        ("x" * 100, "x" * 64),
    ],
)
def test_clients_are_told_apart_by_their_network(host, name):
    assert client_name(host) == name
