"""Who offers must deliver, and can't make us ask for more than a little."""

from p2pai.gossip.promises import OPEN_IDS_MAX, PATIENCE_S, Promises


def test_kept_and_broken() -> None:
    promises = Promises()
    promises.ask("keeps", [b"1", b"2"], 0)
    promises.ask("breaks", [b"2", b"3"], 0)
    promises.ask("breaks", [b"4"], 1)
    has = {b"1", b"2"}.__contains__
    assert list(promises.broken(has, PATIENCE_S - 0.1)) == []
    assert list(promises.broken(has, PATIENCE_S)) == ["breaks"]
    assert list(promises.broken(has, PATIENCE_S + 1)) == ["breaks"]
    assert promises._debtors == {}


def test_a_flood_of_offers_is_asked_for_a_little() -> None:
    promises = Promises()
    ids = [number.to_bytes(2, "big") for number in range(5_000)]
    assert len(promises.ask("a", ids, 0)) == OPEN_IDS_MAX
    assert promises.ask("a", ids, 1) == []
    assert len(promises.ask("b", ids, 1)) == OPEN_IDS_MAX
    assert sorted(promises.broken(lambda _: False, 10)) == ["a", "b"]
    assert len(promises.ask("a", ids, 10)) == OPEN_IDS_MAX
    promises.forget("a")
    assert list(promises.broken(lambda _: False, 20)) == []
