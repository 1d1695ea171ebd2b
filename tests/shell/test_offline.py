"""Questions without a node: a core from the journal, nothing written."""

from contextlib import closing

import pytest
from parts import ScriptedCore

from p2pai.effects import Persist, StoreBlock
from p2pai.events import Started
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import Hash32
from p2pai.shell.offline import open_core, open_offline
from p2pai.shell.store import Store, read_store

NAME = Hash32(b"h" * 32)


def test_the_core_takes_in_the_journal_and_its_effects_go_nowhere(tmp_path):
    archives = []
    with closing(Store.open(tmp_path)) as store:
        store.write_all([Persist(0, b"one"), Persist(0, b"two"), StoreBlock(0, NAME, 1, b"block")])
        core = open_core(
            tmp_path, lambda archive: archives.append(archive) or ScriptedCore(Started=[Persist(1, b"three")])
        )
    assert core.seen == [Started((b"one", b"two"), None, (b"block",))]
    assert core.query("echo", {"a": 1}) == {"a": 1}
    started, archive = read_store(tmp_path)
    assert started.journal == (b"one", b"two")
    for opened in (*archives, archive):
        assert opened.body(NAME) == b"block"
        opened.close()


def test_there_must_have_been_a_node(tmp_path):
    with pytest.raises(Unavailable, match="p2pai start"):
        open_core(tmp_path, ScriptedCore)
    with pytest.raises(Unavailable, match="p2pai start"):
        open_offline(tmp_path)
