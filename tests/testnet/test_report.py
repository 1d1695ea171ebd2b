"""Reports: one file that needs nothing else, the same for the same outcome, and nobody's text is markup."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from outcomes import small

from testnet.outcome import Outcome
from testnet.report import outcomes
from testnet.report.outcomes import SECTIONS, render

EVIL = "<script>alert(1)</script>\"'&$x$_\x1b[31m"
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """What stands in a page; an element that is not closed fails."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.ids, self.words, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page():
    return render([small()])


def test_equal_outcomes_are_equal_pages(page):
    assert render([Outcome.from_json(small().to_json())]) == page


def test_a_page_needs_nothing_else(page):
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(parsed.tags)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), (tag, name)
        if name.endswith(("href", "src")):
            assert value.startswith("#"), (tag, value)
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page


def test_every_picture_is_told_in_words_too(page):
    parsed = Page(page)
    drawings = [value for tag, name, value in parsed.attributes if (tag, name) == ("div", "role")]
    described = [value for _, name, value in parsed.attributes if name == "aria-describedby"]
    assert drawings == ["img"] * 2 * len(SECTIONS), "a wide one and a narrow one"
    assert set(described) <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    for section in SECTIONS:
        assert len(section.take(small()).caption) > 40


def test_what_matters_most_stands_at_the_top(page):
    text = Page(page).text
    order = [
        "calm, seed 7",
        "Failed: I1 was broken: an atom is gone",
        "Broken at 11.0 s at verifier1",
        "p2pai sim",
        "nobody is slashed: not met, verifier1 was",
        "I1, I2",
        "How blocks spread",
        "verifier1 client1 10.5 s",
        "11.000 s verifier1 Received block",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_words_have_the_numbers(page):
    text = Page(page).text
    assert "3 blocks are on the best chain, 1 was left (25.0 %)" in text
    assert "Of the nonces that 100 iterations of honest miners earned, 20.0 % were not tried in time" in text
    assert "digits is paid, 7.0 s after it came into the chain at 2.0 s" in text
    assert "99 % of those that came to have it after 90 ms" in text


def evil():
    """The small outcome, with markup in every text that comes from files or nodes."""
    text = small().to_json()
    for known in ("miner1", "verifier1", "digits", "accuracy", "loss", "block", "an atom is gone", "calm"):
        text = re.sub(rf'(?<!"format)"{known}"', lambda _: '"' + EVIL.replace("\\", "").replace('"', "'")
                      .replace("\x1b", "\\u001b") + '"', text)  # fmt: skip
    return Outcome.from_json(text)


def test_nobodys_text_is_markup():
    outcome = evil()
    assert outcome.nodes[0].name.startswith("<script>")
    page = render([outcome])
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "<script>alert(1)</script>" in parsed.text, "it is shown as what it is"
    assert "\x1b" not in page


def test_an_outcome_with_nothing_in_it_has_a_page():
    bare = replace(
        small(), nodes=(), blocks=(), reorganisations=(), tasks=(), coins=type(small().coins)(), planned=(),
        fired=(), traffic=(), expectations=(), broken=None, last_events=(),
    )  # fmt: skip
    text = Page(render([bare])).text
    assert "There is no block." in text
    assert "Passed" in text


def test_two_runs_stand_side_by_side_on_equal_axes():
    other = replace(small(), head=replace(small().head, runner="processes"), blocks=small().blocks[:2])
    page = render([small(), other])
    parsed = Page(page)
    assert "calm, side by side" in parsed.text
    assert parsed.text.count("processes") > 10
    assert len(parsed.ids) == len(set(parsed.ids))
    spread = page.split('id="spread"')[1].split("</section>")[0]
    ticks = [
        re.findall(r">(\d+)</text>", svg) for svg in spread.split("<svg viewBox=")[1:] if "</text>" in svg
    ]
    first, narrow_first, second, narrow_second = ticks
    assert first == second
    assert narrow_first == narrow_second
    assert len(ticks[0]) > 3


def test_runs_are_named_by_what_tells_them_apart():
    seeds = [replace(small(), head=replace(small().head, seed=seed)) for seed in (1, 2)]
    assert outcomes._names(seeds) == ["seed 1", "seed 2"]
    assert outcomes._names([small(), small()]) == ["simulator, seed 7 (1)", "simulator, seed 7 (2)"]


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_what_is_not_installed_is_said_in_a_sentence(missing, tmp_path):
    file = tmp_path / "o.json"
    file.write_text(small().to_json())
    code = f"import sys; sys.modules[{missing!r}] = None; from p2pai.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "report", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"p2pai: a report needs \w+, which is not installed: .*\n", done.stderr)
