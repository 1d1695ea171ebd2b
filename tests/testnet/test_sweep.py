"""Sweeps: the right scenarios are run, each once, and summed up; what was interrupted goes on."""

import json
import math
import re
import sys
from dataclasses import replace

import pytest
from outcomes import small

from p2pai.cli.main import main
from p2pai.primitives.errors import InvalidInput
from testnet import measures
from testnet.scenario.cast import dishonest, players
from testnet.scenario.faults import Loss
from testnet.scenario.reading import read
from testnet.scenario.shelf import load
from testnet.sweep import running
from testnet.sweep.page import render
from testnet.sweep.running import Plan, Row, sweep
from testnet.sweep.table import sum_up, to_csv, told
from testnet.sweep.varying import axis_of, cells, lengthened, varied

CHEATS = """
name = "cheats"
about = "Some miners cheat."
[[nodes]]
name = "supervisor"
roles = ["supervisor"]
count = 3
[[nodes]]
name = "miner"
roles = ["miner"]
count = 10
[[adversaries]]
kind = "fake-work"
nodes = ["miner10"]
[[faults]]
kind = "loss"
percent = 5
[expect]
tasks = []
"""


class TestKeys:
    def scenario(self):
        return read(CHEATS, "cheats")

    def test_a_parameter_of_the_chain(self):
        assert varied(load("mining"), {"chain.spacing_s": "15"}).chain == {"spacing_s": 15}

    def test_a_pair_from_one_number_or_two(self):
        assert varied(load("mining"), {"network.latency_ms": "50"}).network.latency_ms == (50, 50)
        assert varied(load("mining"), {"network.latency_ms": "20-90"}).network.latency_ms == (20, 90)

    def test_a_word(self):
        made = varied(load("mining"), {"network.gossip": "mesh", "network.degree": "3"})
        assert (made.network.gossip, made.network.degree) == ("mesh", 3)

    def test_a_member_of_a_list_by_name_or_number(self):
        made = varied(self.scenario(), {"nodes.miner.count": "12", "faults.1.percent": "30"})
        assert len(players(made)) == 15
        assert made.faults == (Loss(percent=30),)

    def test_nodes_scale(self):
        assert len(players(varied(load("mining"), {"nodes": "20"}))) == 20

    def test_loss_stands_in_for_what_there_was(self):
        assert varied(self.scenario(), {"loss_percent": "20"}).faults == (Loss(percent=20),)
        assert varied(self.scenario(), {"loss_percent": "0"}).faults == ()

    @pytest.mark.parametrize(("percent", "count"), [(0, 0), (14, 1), (15, 2), (33, 3), (100, 10)])
    def test_so_many_of_the_group_are_dishonest(self, percent, count):
        made = varied(self.scenario(), {"dishonest_percent": str(percent)})
        assert dishonest(made) == tuple(f"miner{i}" for i in range(11 - count, 11))
        assert len(made.adversaries) == (count > 0)

    def test_length_follows_the_spacing(self):
        made = lengthened(varied(load("mining"), {"chain.spacing_s": "600"}), 30)
        assert made.heal_s == 18_000 < made.limit_s
        assert made.expect.settle_s > 600

    @pytest.mark.parametrize(
        ("key", "value", "sentence"),
        [
            ("chain.spacing", "3", "there is no chain parameter spacing"),
            ("chain.spacing_s", "x", "chain.spacing_s must be an integer"),
            ("network.degree", "0", "network.degree must be an integer from 1 to 100, not 0"),
            ("network.nonsense", "1", "there is no key network.nonsense"),
            ("nonsense.x", "1", "there is no key nonsense"),
            ("nodes.nobody.count", "1", "the scenario mining has no nodes[nobody]"),
            ("faults.9.percent", "3", "the scenario mining has no faults[9]"),
            ("tasks.1.fee_coins", "3", "the scenario mining has no tasks[1]"),
            ("nodes", "many", "nodes must be a whole number"),
            ("loss_percent", "101", "loss_percent must be 0 to 100"),
            ("dishonest_percent", "10", "the scenario mining has no adversary"),
        ],
    )
    def test_what_can_not_be_is_one_sentence(self, key, value, sentence):
        with pytest.raises(InvalidInput, match=re.escape(sentence)):
            varied(load("mining"), {key: value})

    @pytest.mark.parametrize("text", ["", "x", "x=", "=1", "x=1,,2", "x=1,1"])
    def test_what_is_no_axis_is_one_sentence(self, text):
        with pytest.raises(InvalidInput, match="--vary"):
            axis_of(text)

    def test_every_combination_once(self):
        made = cells([axis_of("a=1,2"), axis_of("b=x,y,z")])
        assert made == [{"a": a, "b": b} for a in "12" for b in "xyz"]
        with pytest.raises(InvalidInput, match="twice"):
            cells([axis_of("a=1"), axis_of("a=2")])


def plan(**changes):
    axes = (axis_of("chain.spacing_s=2,4"),)
    return replace(Plan(load("mining"), axes, range(1, 3), blocks=1), **changes)


@pytest.fixture
def runs(monkeypatch):
    """Every run is noted, and gives an outcome at once."""
    noted = []

    def simulate(scenario, seed, options):
        noted.append((scenario.chain["spacing_s"], seed))
        return replace(small(), head=replace(small().head, seed=seed), broken=None)

    monkeypatch.setattr(running, "simulate", simulate)
    return noted


POINTS = [(2, 1), (2, 2), (4, 1), (4, 2)]


class TestRunning:
    def test_two_by_two_for_real(self, tmp_path):
        rows = sweep(plan(), 1, tmp_path / "rows", lambda _: None)
        assert [(row.settings["chain.spacing_s"], row.seed) for row in rows] == [
            ("2", 1),
            ("2", 2),
            ("4", 1),
            ("4", 2),
        ]
        assert all(row.is_whole and row.measures["blocks"] >= 2 for row in rows)
        assert len({row.digest for row in rows}) == 4
        again = sweep(plan(seeds=range(2, 3)), 1, None, lambda _: None)
        assert [row.digest for row in again] == [rows[1].digest, rows[3].digest]

    def test_each_is_run_once_and_told_as_it_ends(self, runs):
        told = []
        rows = sweep(plan(), 1, None, told.append)
        assert runs == POINTS
        assert told == rows
        assert not rows[0].is_passed
        assert rows[0].measures["left"] == 0.25

    def test_what_was_interrupted_goes_on(self, runs, tmp_path):
        file = tmp_path / "rows"

        def interrupt(row):
            if (row.settings["chain.spacing_s"], row.seed) == ("4", 1):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sweep(plan(), 1, file, interrupt)
        assert runs == POINTS[:3]
        rows = sweep(plan(), 1, file, lambda _: None)
        assert runs == POINTS
        assert rows == sweep(plan(), 1, None, lambda _: None)

    def test_a_line_that_was_cut_off_is_run_again(self, runs, tmp_path):
        file = tmp_path / "rows"
        whole = sweep(plan(), 1, file, lambda _: None)
        text = file.read_text()
        file.write_text(text[:-20])
        assert sweep(plan(), 1, file, lambda _: None) == whole
        assert runs == [*POINTS, POINTS[-1]]
        assert file.read_text() == text

    def test_more_seeds_are_run_besides(self, runs, tmp_path):
        sweep(plan(), 1, tmp_path / "rows", lambda _: None)
        rows = sweep(plan(seeds=range(1, 4)), 1, tmp_path / "rows", lambda _: None)
        assert runs[4:] == [(2, 3), (4, 3)]
        assert len(rows) == 6

    @pytest.mark.parametrize(
        "other", [{"blocks": 2}, {"scenario": read(CHEATS, "")}, {"axes": (axis_of("nodes=7"),)}]
    )
    def test_rows_of_another_sweep_are_not_mixed_in(self, runs, tmp_path, other):
        sweep(plan(), 1, tmp_path / "rows", lambda _: None)
        with pytest.raises(InvalidInput, match="holds the rows of another sweep"):
            sweep(plan(**other), 1, tmp_path / "rows", lambda _: None)

    def test_what_is_no_file_of_rows_is_refused(self, tmp_path):
        (tmp_path / "rows").write_text("hello\n")
        with pytest.raises(InvalidInput, match="is not JSON"):
            sweep(plan(), 1, tmp_path / "rows", lambda _: None)

    def test_a_run_that_can_not_be_is_a_row_that_says_so(self, monkeypatch):
        def refuse(scenario, seed, options):
            raise InvalidInput("no")

        monkeypatch.setattr(running, "simulate", refuse)
        (row, *_) = sweep(plan(), 1, None, lambda _: None)
        assert (row.is_whole, row.is_passed, row.verdict) == (False, False, "It could not be run: no")


def rows():
    def row(spacing, seed, lost, **changes):
        known = {"is_whole": True, "is_passed": True, "verdict": "Passed"}
        return Row(
            {"k": spacing, "other": "x"}, seed, measures={"lost": lost, "blocks": 10}, **{**known, **changes}
        )

    return [
        row("15", 1, 0.2),
        row("15", 2, 0.4),
        row("600", 1, 0.01),
        row("600", 2, 0.9, is_whole=False, is_passed=False, verdict="Failed: <b>I1</b>"),
    ]


class TestTable:
    def test_mean_and_spread_over_the_runs_that_came_to_their_end(self):
        first, second = sum_up(rows())
        spread = first.spreads["lost"]
        assert (spread.mean, spread.count) == (pytest.approx(0.3), 2)
        assert spread.deviation == pytest.approx(math.sqrt(0.02))
        assert (first.runs, first.failed) == (2, 0)
        assert (second.spreads["lost"].mean, second.spreads["lost"].deviation) == (0.01, None)
        assert (second.runs, second.failed, second.verdicts) == (2, 1, ("Failed: <b>I1</b>",))
        assert "stale" not in first.spreads

    def test_numbers_have_their_unit(self):
        lost = measures.MEASURES["lost"]
        first, second = sum_up(rows())
        assert told(lost, first.spreads["lost"]) == "30.0 ± 14.1 %"
        assert told(lost, second.spreads["lost"]) == "1.0 %"
        assert told(lost, None) == "-"

    def test_a_table_for_programs_has_every_run(self):
        lines = to_csv(rows()).splitlines()
        assert lines[0].startswith("k,other,seed,passed,verdict,digest,real_ms,steps,blocks,")
        assert len(lines) == 5
        assert lines[4].startswith("600,x,2,no,Failed: <b>I1</b>,")

    def test_the_page_is_the_same_for_the_same_rows_and_escapes(self):
        made = Plan(load("mining"), (axis_of("k=15,600"), axis_of("other=x")), range(1, 3))
        page = render(made, rows(), ["lost"], "p2pai sweep <x>")
        assert page == render(made, rows(), ["lost"], "p2pai sweep <x>")
        assert "30.0 ± 14.1 %" in page
        assert "Failed: &lt;b&gt;I1&lt;/b&gt;" in page
        assert "<span>sweep</span> <span>&lt;x&gt;</span></code>" in page
        assert "From 30.0 ± 14.1 % at k 15 to 1.0 % at 600." in page
        assert "<h1>mining: k varied</h1>" in page, "the other key has one value"


class TestMeasures:
    def test_what_mining_lost(self):
        known = measures.losses(small())
        assert known.untried == pytest.approx(20 / 100)
        assert known.stale == pytest.approx(15 / 100)
        assert known.overtaken == pytest.approx((1 + 1) / (3 + 1 + 1)), "late or left, of all that ended"
        assert known.total == pytest.approx(1 - 0.8 * 0.6)

    def test_delays(self):
        assert sorted(measures.delays_ms(small())) == [15, 20, 30, 40, 55, 60, 90]
        assert measures.MEASURES["delay50_s"].take(small()) == 0.04
        assert measures.MEASURES["delay99_s"].take(small()) == 0.09
        assert measures.MEASURES["reached"].take(small()) == 7 / 8

    def test_the_rest(self):
        taken = {key: measure.take(small()) for key, measure in measures.MEASURES.items()}
        assert (taken["blocks"], taken["left"], taken["reorgs"], taken["depth"]) == (3, 0.25, 1, 1)
        assert taken["spacing_s"] == 3.5
        assert (taken["task_s"], taken["score"]) == (7, 0.91)
        assert taken["node_kib_s"] == pytest.approx(16_300 / 1024 / 12 / 3)

    def test_nothing_gives_none(self):
        bare = replace(small(), blocks=(), nodes=(), tasks=(), traffic=())
        assert {k for k, m in measures.MEASURES.items() if m.take(bare) not in (None, 0)} == {
            "reorgs",
            "depth",
        }

    @pytest.mark.parametrize(("share", "value"), [(0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.99, 4), (1, 4)])
    def test_quantiles_are_values_that_were_there(self, share, value):
        assert measures.quantile([4, 1, 3, 2], share) == value
        assert measures.quantile([], share) is None


@pytest.fixture
def p2pai(monkeypatch, capsys):
    """Runs a command line; returns its status, and what it wrote."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["p2pai", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    return run


def test_the_command(p2pai, tmp_path, runs):
    status, out, _ = p2pai(
        "sweep", "--scenario", "mining", "--vary", "chain.spacing_s=2,4", "--seeds", "2", "--jobs", "1",
        "--show", "left,blocks", "--csv", str(tmp_path / "t.csv"),
    )  # fmt: skip
    assert status == 0
    assert "25.0 ± 0.0 %" in out
    assert "nobody is slashed; verifier1 was" in out
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 5
    status, out, _ = p2pai("sweep", "--vary", "chain.spacing_s=2", "--jobs", "1", "--json")
    assert json.loads(out)[0]["measures"]["left"]["mean"] == 0.25
    status, _, err = p2pai("sweep", "--vary", "chain.nonsense=2")
    assert (status, err.count("\n")) == (1, 1)
    status, _, err = p2pai("sweep", "--vary", "chain.spacing_s=2", "--show", "nonsense")
    assert "there is no measure 'nonsense'" in err
