"""docs/upstream: each fault has a page, a reproduction and a test of ours; and each reproduces."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
UPSTREAM = ROOT / "docs/upstream"
PAGES = sorted(path.stem for path in UPSTREAM.glob("[0-9]*.md"))
SCRIPTS = sorted(path.stem for path in UPSTREAM.glob("repro/[0-9]*.py"))
README = (UPSTREAM / "README.md").read_text()
ROWS = re.findall(r"^\| \[(\d+)\]\((\w+)\.md\) \| .+ \| .+ \| (`.+`) \|$", README, re.MULTILINE)


def test_pages_scripts_and_rows_are_the_same() -> None:
    assert PAGES == SCRIPTS == [slug for _, slug, _ in ROWS]
    assert [number for number, *_ in ROWS] == [f"{place:02}" for place in range(1, len(ROWS) + 1)]


def test_the_tests_that_are_named_exist() -> None:
    named = {test for *_, tests in ROWS for test in re.findall(r"`([^`]+)`", tests)}
    for test in named | set(re.findall(r"`(gossip/[\w/]+\.py::\w+)`", README)):
        path, _, function = test.partition("::")
        source = (ROOT / "tests" / path).read_text()
        assert not function or re.search(rf"^(async )?def {function}\(", source, re.MULTILINE), test


@pytest.mark.parametrize("slug", PAGES)
def test_a_page_says_all_of_it(slug: str) -> None:
    page = (UPSTREAM / f"{slug}.md").read_text()
    for part in (
        "happens",
        "What should",
        "Reproduction",
        "REPRODUCED: ",
        "Cause",
        "Proposed fix",
        "Known threads",
    ):
        assert part in page
    assert len(page.splitlines()) < 50
    assert "p2pai" not in (UPSTREAM / f"repro/{slug}.py").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("slug", SCRIPTS)
def test_the_stock_library_has_the_fault(slug: str) -> None:
    done = subprocess.run(
        [sys.executable, str(UPSTREAM / f"repro/{slug}.py")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("REPRODUCED: ")
