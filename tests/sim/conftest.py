"""For tests of whole networks: what all nodes of a process compute is computed once."""

import pytest

from p2pai.primitives import memo


@pytest.fixture(scope="module")
def shared():
    """Let the nodes of a module's histories share what they compute; not where rules are changed midway."""
    with memo.shared():
        yield
