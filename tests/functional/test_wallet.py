"""A wallet's life with real processes: made, started with a password file, looked at, paid by a faucet.

Two lone nodes on loopback, neither of them a miner, so every payment stays in the mempool. The first has a
key store: whatever it writes, says or shows of itself is searched for its secrets. The second has a published
account, and a faucet beside it.
"""

import json
import os
import re
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from p2pai.primitives.mnemonic import KeyTree, entropy_of
from p2pai.shell.client import RpcClient
from testnet.devnet.launch import Devnet, Plan, wait_for
from tests.functional.network import p2pai, p2pai_json

PASSWORD = "correct horse battery"
START_S_MAX = 60


@pytest.fixture
def devnet(tmp_path):
    with Devnet(tmp_path) as running:
        yield running


@pytest.fixture
def started():
    """Start processes of our own; they are ended afterwards."""
    processes = []

    def start(*arguments, log):
        with log.open("wb") as output:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "p2pai", *map(str, arguments)],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )
            )  # fmt: skip
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def said(log, pattern):
    assert wait_for(lambda: re.search(pattern, log.read_text()), START_S_MAX), log.read_text()
    return re.search(pattern, log.read_text())


def secrets_of(words):
    """Every form in which a secret might show; a single word may stand in a log by chance."""
    wallet, parts = KeyTree(entropy_of(words)), words.split()
    accounts = [wallet.account(number) for number in (0, 1)]
    keys = [wallet.entropy, *(key for k in accounts for key in (k.spending, k.vrf, k.bls))]
    pairs = [" ".join(pair) for pair in pairwise(parts)]
    return [PASSWORD, *pairs, *(key.hex() for key in keys), *(repr(key)[2:-1] for key in keys)]


def test_a_wallet_gives_nothing_away(devnet, started, tmp_path):
    directory, log, password = tmp_path / "node", tmp_path / "out", tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    made = p2pai_json(devnet, directory, "wallet", "create", "--password-file", str(password))
    node = started("start", "--data-dir", directory, "--password-file", password, "--role", "client", log=log)
    said(log, made["address"])
    assert p2pai(devnet, directory, "wallet", "address").strip() == made["address"]
    assert "dpai1" in p2pai(devnet, directory, "wallet", "accounts", "--new")
    signature = p2pai(
        devnet, directory, "wallet", "sign", "hello", "--account", "1", "--password-file", str(password)
    )
    client = RpcClient(directory)
    answers = [
        client.call(m, {}) for m in ("node.status", "wallet.balance", "wallet.accounts", "wallet.history")
    ]
    assert answers[1]["total"] == 0
    assert len(answers[2]) == 2
    shown = [
        log.read_text(), (directory / "node.log").read_text(), (directory / "node.json").read_text(),
        Path(f"/proc/{node.pid}/cmdline").read_text(), Path(f"/proc/{node.pid}/environ").read_text(),
        json.dumps(answers), signature, (directory / "keys.json").read_text(),
        (directory / "journal.db").read_bytes().hex(),
    ]  # fmt: skip
    for secret in secrets_of(made["words"]):
        for text in shown:
            assert secret not in text
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0
    # Without its node, and without a password, the directory still tells what is public.
    assert p2pai_json(devnet, directory, "wallet", "accounts") == answers[2]
    assert "holds other keys" in p2pai(devnet, directory, "start", "--dev-account", "3", status=1)


def test_a_faucet_pays_once(devnet, started, tmp_path):
    payer = devnet.start(Plan("payer", 8, ("peer",)))
    devnet.wait_ready(payer)
    log = tmp_path / "faucet"
    faucet = started(
        "faucet", "--coins", "7", "--listen", "127.0.0.1:0", "--data-dir", payer.directory, log=log
    )
    url = said(log, r"serves on (http://\S+)")[1]
    receiver = json.loads((payer.directory / "node.json").read_text())
    assert receiver["dev_account"] == 8
    address = "dpai1jcdwukh7dfgrqe9fxc650hrq47mtjdy588e7gg"
    claim = [sys.executable, "-m", "p2pai", "faucet", "claim", url, address]
    first = subprocess.run(claim, capture_output=True, text=True, timeout=60, check=True)
    txid = re.search(r"in transaction ([0-9a-f]{64})", first.stdout)[1]
    again = subprocess.run(claim, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, "has had its coins" in again.stderr) == (1, True)
    waiting = payer.call("wallet.balance")["waiting"]
    assert -7 * 10**8 - 1_000 < waiting < -7 * 10**8
    assert payer.call("node.status")["mempool"] == 1
    os.kill(faucet.pid, signal.SIGTERM)
    assert faucet.wait(20) == 0
    assert txid in log.read_text()
