"""Questions without a node: a core from the journal, nothing written."""

from contextlib import closing

import pytest
from parts import ScriptedCore

from p2pai.effects import Persist
from p2pai.events import Started
from p2pai.primitives.errors import Unavailable
from p2pai.shell.offline import open_core, open_offline
from p2pai.shell.store import Journal, read_journal


def test_the_core_takes_in_the_journal_and_its_effects_go_nowhere(tmp_path):
    with closing(Journal.open(tmp_path)) as journal:
        journal.append_all([b"one", b"two"])
        core = open_core(tmp_path, lambda: ScriptedCore(Started=[Persist(1, b"three")]))
    assert core.seen == [Started((b"one", b"two"))]
    assert core.query("echo", {"a": 1}) == {"a": 1}
    assert read_journal(tmp_path) == (b"one", b"two")


def test_there_must_have_been_a_node(tmp_path):
    with pytest.raises(Unavailable, match="p2pai start"):
        open_core(tmp_path, ScriptedCore)
    with pytest.raises(Unavailable, match="p2pai start"):
        open_offline(tmp_path)
