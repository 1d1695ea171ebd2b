"""What the fixed node of these tests answers, in the form that a real node answers."""

HASH = "ab" * 32
TASK = "cd" * 32
MINER = "dpai1miner000000000000000000000000000000"

BLOCK = {
    "height": 7,
    "hash": HASH,
    "time": 1_700_000_000,
    "task": TASK,
    "task_name": "digits",
    "miner": MINER,
    "iteration": 41,
    "transactions": 1,
    "approvals": 3,
    "verifiers": 3,
    "settled": True,
    "subsidy_paid": 15_000_000_000,
}

PROGRESS = {
    "state": "TRAINING",
    "height": 9,
    "miners": [
        {
            "address": MINER,
            "iteration": 44,
            "iterations": 480,
            "epoch": 2,
            "epochs": 22,
            "metrics": {"loss": 0.25, "accuracy": 0.9375},
        },
    ],
    "slots": 12,
    "blocks": [BLOCK],
    "payouts": [],
    "model_path": None,
}

PAID = {
    **PROGRESS,
    "state": "PAID",
    "payouts": [{"address": MINER, "role": "miner", "atoms": 10**10}],
    "model_path": "models/digits.safetensors",
}

MONEY = {
    "address": "dpai1me",
    "spendable": 12 * 10**8,
    "staked": 1,
    "total": 12 * 10**8 + 1,
    "waiting": -5,
}

ANSWERS = {
    "node.status": {
        "version": "0.1.0", "chain": "devnet", "peer_id": "12D3KooWtest", "address": "dpai1me",
        "roles": ["client"], "height": 9, "tip": HASH, "remotes": 7, "mempool": 2,
        "ticket_price": 12_000_000_000, "checkpoint": f"5:{HASH}:{HASH}",
        "mining": {
            "earned": 40, "tried": 30, "stale": 8, "uncommitted": 2, "crowded": 0,
            "found": 3, "late": 1, "sent": 2,
        },
        "origin": None,
    },
    "node.network": {
        "addresses": ["/ip4/0.0.0.0/tcp/4001/p2p/12D3KooWtest"], "remotes": 3, "reach": "reachable",
        "reached_at": ["/ip4/203.0.113.7/tcp/4001"], "reached_by": 2, "tried_by": 3,
        "inbound": 3, "outbound": 5, "known": 40, "alone": False,
        "clock_ahead_ms": -1500, "clock_error_ms": 20, "clocks": 3,
    },
    "node.fetches": [
        {"blob": "ab" * 32, "chunks": 8, "here": 3, "sources": 2},
        {"blob": "cd" * 32, "chunks": None, "here": None, "sources": 0},
    ],
    "chain.status": {
        "chain": "devnet", "chain_id": HASH, "height": 9, "tip": HASH, "time": 1_700_000_000, "weight": 4096,
        "checkpoint": {"height": 8, "block": "12" * 32, "snapshot": "34" * 32},
        "next_bits": "1f00ffff", "next_work": 65_537, "ticket_price": 12_000_000_000,
        "tickets": [{"role": "verifier", "live": 3, "immature": 21, "working": 4, "expired": 5}],
        "side_branches": [{"height": 6, "tip": "56" * 32}],
        "mempool": {"count": 2, "bytes": 512, "fee_rate_min": 3},
    },
    "supply": {
        "height": 9, "genesis": 10**12, "subsidies": 10**11, "issued": 11 * 10**11, "burned": 5 * 10**8,
        "captured": 2 * 10**8, "unspent": 11 * 10**11 - 5 * 10**8, "staked_by_tickets": 4 * 10**9,
        "staked_by_tasks": 10**9, "holds": True,
    },
    "tx.show": {
        "found": True, "txid": "ef" * 32, "type": "VERIFY_COMMIT", "size": 345, "where": "block",
        "inputs": [{"outpoint": "aa:1", "kind": "pay", "value": 10**10, "address": "dpai1payer"}],
        "outputs": [{"kind": "pay", "value": 10**10 - 345, "address": "dpai1payer"}],
        "fee": 345, "data": {"block": HASH, "ticket": "bb:0", "commitment": "78" * 32},
        "signatures_valid": True,
        "block": {"height": 7, "hash": HASH, "time": 1_700_000_000, "confirmations": 3},
    },
    "block.list": [BLOCK],
    "block.show": {
        **BLOCK,
        "header": {"version": 1, "bits": "1e00ffff"},
        "transactions": [{"txid": "ef" * 32, "type": "TRANSFER"}],
        "approvals_by": ["dpai1verifier"],
    },
    "task.list": [
        {
            "task": TASK, "name": "evil\x1b[2Jname", "state": "PAID", "fee": 10**10, "height": 3, "miners": 3,
            "supervisors": 3, "evaluators": 3, "iterations": 900, "metric": "accuracy", "score": 0.9722,
        },
    ],
    "task.show": {
        "task": TASK, "name": "digits", "state": "PAID", "fee": 10**10, "definition": {"epochs": 22},
        "keys": {"threshold": 2},
        "workers": [{"role": "miner", "ticket": "aa:0", "address": MINER}],
        "result": {"model": HASH, "scores": [], "payouts": PAID["payouts"]},
        "history": [{"state": "SUBMITTED", "height": 3}],
    },
    "wallet.balance": {
        **MONEY, "accounts": [{"account": 0, **MONEY}, {"account": 1, **MONEY, "address": "dpai1second"}],
    },
    "wallet.accounts": [
        {"account": 0, "address": "dpai1me"}, {"account": 1, "address": "dpai1second"},
    ],
    "wallet.quote": {"fee": 236, "size": 230, "inputs": 1, "change": 7},
    "wallet.history": {
        "read": 9, "height": 9,
        "entries": [
            {"type": "TRANSFER", "height": 8, "time": 1_700_000_000, "amount": -300_000_236,
             "balance": 12 * 10**8, "txid": HASH, "fee": 236},
            {"type": "GENESIS", "height": 0, "time": 1_600_000_000, "amount": 15 * 10**8,
             "balance": 15 * 10**8, "txid": None, "fee": None},
        ],
    },
    "ticket.list": [
        {"ticket": f"{HASH}:0", "role": "miner", "owner": "dpai1me", "own": True, "stake": 10**9,
         "state": "immature", "height": 3, "live_from": 5, "expires": 261, "task": None},
        {"ticket": f"{HASH}:1", "role": "verifier", "owner": "dpai1me", "own": True, "stake": 10**9,
         "state": "working", "height": 0, "live_from": 0, "expires": None, "task": TASK},
    ],
    "ticket.refundable": [
        {"stake": f"{HASH}:0", "atoms": 10**9, "role": "miner", "free": True, "from": 9, "why": "free"},
        {"stake": f"{HASH}:1", "atoms": 10**9, "role": "verifier", "free": False, "from": 261,
         "why": "waits to be drawn"},
        {"stake": f"{HASH}:2", "atoms": 10**9, "role": None, "free": False, "from": None,
         "why": "fee of task cdcdcdcd, until it is over"},
    ],
}  # fmt: skip
