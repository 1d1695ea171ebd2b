"""Targets: the shipped network parses and starts; its id covers its rules; bad specs are refused."""

import contextlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import p2pai.chain
from p2pai.chain import genesis, spec
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Stage
from p2pai.chain.task import check
from p2pai.chain.transaction import Pay, Stake
from p2pai.primitives import ecdsa
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Outpoint
from tests.chain.ledger import key_hash, keys, public

TEXT = (Path(p2pai.chain.__file__).with_name("presets") / "devnet.toml").read_text()
DEVNET = spec.parse(TEXT)


def test_the_devnet_is_as_the_protocol_says():
    params = DEVNET.params
    assert (params.spacing_s, params.commitment_distance, params.ticket_maturity_blocks) == (6, 3, 2)
    assert (params.verification_window_blocks, params.verifiers_per_block_max) == (8, 10)
    assert (params.half_life_s, params.offline_penalty_percent) == (120, 10)
    assert (params.subsidy_atoms, params.halving_blocks) == (150 * 10**8, 0)
    assert (DEVNET.name, DEVNET.prefix) == ("devnet", "dpai")


def test_iterations_are_short_beside_blocks():
    params = DEVNET.params
    # Each new tip voids the k commitments in flight. Source: PROTOCOL section 1.
    assert params.spacing_s * 1000 >= 10 * params.commitment_distance * params.iteration_ms_min


def test_its_predefined_task_passes_its_own_rules():
    for task in DEVNET.tasks:
        check(task)


class TestGenesis:
    STATE = genesis.genesis_state(DEVNET)

    def test_all_money_is_accounted_for(self):
        assert self.STATE.issued == self.STATE.unspent_total() == 19_000 * 10**8 + 18 * 10 * 10**8

    def test_allocations_belong_to_the_published_accounts(self):
        first = self.STATE.utxos[Outpoint(DEVNET.id, 0)]
        assert first == Pay(10_000 * 10**8, key_hash(0))

    def test_every_ticket_has_its_stake(self):
        assert len(self.STATE.tickets) == 18
        for outpoint, ticket in self.STATE.tickets.items():
            assert self.STATE.utxos[outpoint] == Stake(10 * 10**8, ticket.key_hash)
            assert ticket.key_hash == ecdsa.key_hash(ticket.owner)

    def test_the_first_task_has_its_group_and_trains(self):
        task = self.STATE.tasks[genesis.predefined_task_id(DEVNET, 0)]
        assert task.stage is Stage.TRAINING
        assert task.is_predefined
        owners = [
            sorted(self.STATE.tickets[t].owner for t in group) for group in (task.miners, task.supervisors)
        ]
        assert owners == [sorted(public(a) for a in accounts) for accounts in ((4, 5, 6), (1, 2, 3))]
        assert list(task.miners) == sorted(task.miners)

    def test_the_block_names_the_chain(self):
        block = genesis.genesis_block(DEVNET)
        assert block.header.merkle_root == DEVNET.id
        assert self.STATE.tip == block.hash

    def test_is_the_same_each_time(self):
        assert snapshot_id(genesis.genesis_state(spec.parse(TEXT))) == snapshot_id(self.STATE)


class TestId:
    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "other"},
            {"genesis_time": 1},
            {"params": replace(DEVNET.params, spacing_s=7)},
            {"allocations": DEVNET.allocations[1:]},
            {"tickets": DEVNET.tickets[1:]},
            {"tasks": ()},
        ],
        ids=lambda c: next(iter(c)),
    )
    def test_covers_every_rule(self, changes):
        assert replace(DEVNET, **changes).id != DEVNET.id

    def test_does_not_cover_where_to_connect(self):
        assert replace(DEVNET, bootstrap=("/ip4/10.0.0.1/tcp/1",)).id == DEVNET.id

    def test_has_a_short_form(self):
        assert DEVNET.id.hex().startswith(DEVNET.short_id)
        assert len(DEVNET.short_id) == 8

    def test_does_not_depend_on_the_hash_seed(self):
        program = (
            "from p2pai.chain import spec; import sys; s = spec.parse(sys.stdin.read()); print(s.id.hex())"
        )
        assert run(program, "1") == run(program, "2") == DEVNET.id.hex()


def run(program, hash_seed):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=TEXT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_accounts_are_published():
    assert spec.dev_account_seed("devnet", 0) != spec.dev_account_seed("devnet", 1)
    assert spec.dev_account_seed("devnet", 0) != spec.dev_account_seed("other", 0)
    assert key_hash(4) == ecdsa.key_hash(ecdsa.public_key(keys(4).spending))


def with_line(pattern, line):
    changed, count = re.subn(pattern, line, TEXT, count=1, flags=re.MULTILINE)
    assert count == 1
    return changed


BROKEN = [
    ("name = ", "is not TOML"),
    (with_line(r"^prefix = .*$", ""), "lacks the key 'prefix'"),
    (with_line(r"^\[params\]$", "[params]\ncolour = 1"), "unknown parameter 'colour'"),
    (with_line(r"^spacing_s = 6$", "spacing_s = '6'"), "'spacing_s' must be an integer"),
    (with_line(r"^spacing_s = 6$", "spacing_s = -6"), "'spacing_s' must be an integer"),
    (with_line(r"^spacing_s = 6$", "spacing_s = 0"), "'spacing_s' must be positive"),
    (with_line(r"^half_life_s = 120$", "half_life_s = 0"), "'half_life_s' must be positive"),
    (with_line(r"^commitment_distance = 3$", "commitment_distance = 0"), "must be positive"),
    (with_line(r"^verification_window_blocks = 8$", "verification_window_blocks = 0"), "must be positive"),
    (with_line(r"^\[params\]$", "[params]\nverifier_share_percent = 91"), "more than the subsidy"),
    (with_line(r"^\[params\]$", "[params]\noffline_penalty_percent = 101"), "more than the stake"),
    (with_line(r"^genesis_bits = \w+", "genesis_bits = 0"), "target is zero"),
    (with_line(r"^dev_accounts = 10$", "dev_accounts = 9"), "no account 9"),
    (with_line(r"^dev_accounts = 10$", "dev_accounts = 1001"), "0 to 1000 development accounts"),
    (with_line(r"account = 0, coins", "account = -1, coins"), "no account -1"),
    (with_line(r"account = 0, coins", "account = 10, coins"), "no account 10"),
    (with_line(r"account = 0, coins", "key_hash = 'abcd', coins"), "where 20 bytes belong"),
    (with_line(r"account = 0, coins", "key_hash = 'xyz', coins"), "value of the wrong kind"),
    (with_line(r"coins = 10_000", "coins = 0"), "allocation of the chain spec is out of range"),
    (with_line(r"coins = 10_000", "coins = -1"), "allocation of the chain spec is out of range"),
    (with_line(r"^time = .*$", "time = 4294967296"), "does not fit 32 bits"),
    (with_line(r'roles = \["supervisor"\]', 'roles = ["king"]'), "unknown role 'king'"),
    (with_line(r"preferences = \[1, 1\], in_task", "preferences = [0, 0], in_task"), "all zero"),
    (with_line(r"^preferences = \[1, 1\]$", "preferences = []"), "0 traits"),
    (with_line(r"^preferences = \[1, 1\]$", "preferences = [1]"), "preferences of other than 2 traits"),
    (
        with_line(r"preferences = \[1, 1\], in_task", "preferences = [1, 1, 1], in_task"),
        "preferences of other than 2 traits",
    ),
    (with_line(r"^\[params\]$", "[params]\ntrait_count = 3"), "preferences of other than 3 traits"),
    (with_line(r"^\[params\]$", "[params]\ntrait_count = 0"), "'trait_count' must be positive"),
    (with_line(r"^tau_bits = 6$", "tau_bits = 1"), "task definition: tau"),
    (with_line(r"^hidden = \[128\]$", "hidden = 128"), "value of the wrong kind"),
    (with_line(r'^  "e3ae[0-9a-f]*",$', '  "e3ae",'), "where 32 bytes belong"),
    (with_line(r"^samples = 1797$", "samples = -1797"), "every fragment holds samples"),
]


@pytest.mark.parametrize(
    ("text", "reason"), BROKEN, ids=[f"{i}-{r[-20:]}" for i, (_, r) in enumerate(BROKEN)]
)
def test_a_bad_spec_is_refused_in_one_sentence(text, reason):
    with pytest.raises(InvalidInput, match=reason) as refusal:
        spec.parse(text)
    assert "\n" not in str(refusal.value)


LINES = [i for i, line in enumerate(TEXT.splitlines()) if "=" in line]


@given(
    st.sampled_from(LINES), st.sampled_from(["0", "-1", "''", "[]", "{}", "1.5", "true", "2e400", "10**9"])
)
def test_any_value_gives_a_spec_or_invalid_input(number, value):
    lines = TEXT.splitlines()
    lines[number] = lines[number].split("=")[0] + "= " + value
    with contextlib.suppress(InvalidInput):
        assert spec.parse("\n".join(lines)).id


class TestUpgrades:
    TEXT = (
        TEXT
        + """
[[upgrade]]
height = 5
[upgrade.params]
subsidy_atoms = 7

[[upgrade]]
height = 9
[upgrade.params]
skip_penalty_percent = 50
"""
    )

    def test_rules_change_at_their_heights_and_the_chain_stays_the_same(self):
        made = spec.parse(self.TEXT)
        assert made.id == DEVNET.id
        assert [made.params_at(height) for height in (0, 4)] == [DEVNET.params] * 2
        assert made.params_at(5) == made.params_at(8) == replace(DEVNET.params, subsidy_atoms=7)
        assert made.params_at(9) == replace(DEVNET.params, subsidy_atoms=7, skip_penalty_percent=50)

    @pytest.mark.parametrize(
        ("changed", "to", "reason"),
        [
            ("subsidy_atoms = 7", "spacing_s = 7", "can't change the parameter 'spacing_s'"),
            ("subsidy_atoms = 7", "nothing = 7", "can't change the parameter 'nothing'"),
            ("subsidy_atoms = 7", "weights_per_nonce = 0", "'weights_per_nonce' must be positive"),
            ("subsidy_atoms = 7", "verifier_share_percent = 95", "gives away more than the subsidy"),
            ("height = 9", "height = 5", "not at rising heights"),
            ("height = 5", "height = 0", "not at rising heights"),
            ("height = 5", "depth = 5", "lacks the key 'height'"),
        ],
    )
    def test_what_an_upgrade_may_not_be(self, changed, to, reason):
        with pytest.raises(InvalidInput, match=reason):
            spec.parse(self.TEXT.replace(changed, to))
