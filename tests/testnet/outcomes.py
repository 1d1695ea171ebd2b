"""A small outcome with something in every field, for tests of what is made of outcomes."""

from testnet.outcome import (
    Account,
    Approval,
    Ban,
    Block,
    Broken,
    Coins,
    Entered,
    Expectation,
    Fired,
    Head,
    Iteration,
    Mining,
    Node,
    Outcome,
    Payout,
    Planned,
    Reorganisation,
    Task,
    Traffic,
)

GENESIS = "00" * 32


def hash_of(number):
    return f"{number:064x}"


def block(number, prev, height, seen, **fields):
    approvals = (Approval("verifier1", True, seen["miner1"] + 800, height + 1),)
    known = {
        "miner": "miner1",
        "task": "aa" * 32,
        "time_ms": seen["miner1"],
        "is_best": True,
        "size_bytes": 900,
        "transactions": 2,
        "drawn": 2,
        "approvals": approvals,
    }
    return Block(hash=hash_of(number), prev=prev, height=height, seen_ms=seen, **{**known, **fields})


def some_blocks():
    return (
        block(1, GENESIS, 1, {"miner1": 2_000, "verifier1": 2_030, "client1": 2_055}),
        block(2, hash_of(1), 2, {"miner1": 6_000, "verifier1": 6_020, "client1": 6_090}),
        block(3, hash_of(1), 2, {"miner1": 6_010, "verifier1": 6_070}, is_best=False, approvals=()),
        block(4, hash_of(2), 3, {"miner1": 9_000, "verifier1": 9_015, "client1": 9_040}),
    )


def a_task():
    points = tuple(
        Iteration(1_000 * i, "miner1", i, 1, 400 * (i + 1), (0.1 * i, 1.0), (0.5, None) if i == 9 else ())
        for i in range(10)
    )
    return Task(
        "bb" * 32,
        "digits",
        False,
        (Entered("joining", 2_000, 1), Entered("training", 6_000, 2), Entered("paid", 9_000, 3)),
        fee_atoms=100 * 10**8,
        client="client1",
        miners=("miner1",),
        supervisors=("verifier1",),
        evaluators=("verifier1",),
        metrics=("accuracy", "loss"),
        score=0.91,
        iterations=10,
        map_bytes=4_000,
        points=points,
        payouts=(Payout("miner1", "miner", 70 * 10**8), Payout("verifier1", "supervisor", 30 * 10**8)),
    )


def some_accounts():
    return (
        Account(
            "miner1", genesis=10**9, mined=5 * 10**8, worked=70 * 10**8, balance=80 * 10**8, staked=10**8
        ),
        Account(
            "verifier1", genesis=10**9, verified=10**8, worked=30 * 10**8, slashed=10**7, balance=4 * 10**9
        ),
        Account("client1", genesis=2 * 10**10, tasks=100 * 10**8, fees=1000, balance=10**10),
    )


def small():
    return Outcome(
        Head(
            "calm", "simulator", 7, about="Nothing goes wrong.", row="none", version="0", command="p2pai sim",
            length_ms=12_000, real_ms=900, steps=1234, digest="ab" * 32, healed_ms=9_500, settled_ms=9_900,
            params={"spacing_s": 3, "commitment_distance": 3}, settings={"network.degree": "6"},
        ),
        nodes=(
            Node("miner1", ("miner",), 3, hash_of(4), mining=Mining(100, 80, 15, 3, 2, 4, 1, 3)),
            Node("verifier1", ("verifier", "supervisor"), 3, hash_of(4), slashed_atoms=10**7, starts=2),
            Node("client1", ("client",), 3, hash_of(4), is_honest=False, is_up=False, halted="disk full"),
        ),
        blocks=some_blocks(),
        reorganisations=(Reorganisation("verifier1", 6_080, 1, 1),),
        tasks=(a_task(),),
        coins=Coins(10**11, 6 * 10**8, 10**7, 1000, 10**8, 0, some_accounts()),
        planned=(
            Planned("loss", ("any",), 1_000, 5_000),
            Planned("lazy-miner", ("miner1",), 0, None, is_adversary=True),
        ),
        fired=(Fired("loss", 12, (1_200, 2_000, 4_900)), Fired("kill", 0)),
        traffic=(
            Traffic("block", 4, 3_600, 7, 6_300, 1, 1, 0, (900, 0, 5_400)),
            Traffic("it_res", 10, 5_000, 20, 10_000, 0, 0, 2, (3_000, 4_000, 3_000)),
        ),
        interval_ms=4_000,
        invariants=("I1", "I2"),
        expectations=(
            Expectation("every task is paid", True),
            Expectation("nobody is slashed", False, "verifier1 was"),
        ),
        broken=Broken("I1", "an atom is gone", 11_000, "verifier1"),
        bans=(Ban("verifier1", "client1", 10_500),),
        last_events=("11.000 s verifier1 Received block",),
    )  # fmt: skip
