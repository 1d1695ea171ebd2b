"""How long a slot takes from the leader's opening to its certificate, on real processes on this machine.

    python benchmarks/certificates.py [--seconds 60]

Starts the network of the demonstration (8 processes: peer, client, 3 x supervisor + verifier + evaluator, 3
miners that train the predefined task), lets it run, and asks the supervisors. Each measures the slots that it
led itself: opening, ballots, proposal, two votes, with the journal writes before them.
"""

import argparse
import tempfile
import time
from pathlib import Path

from testnet.devnet.eight import PLANS
from testnet.devnet.launch import Devnet


def main() -> None:
    """Run the network and print what each supervisor measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as directory, Devnet(Path(directory)) as devnet:
        nodes = devnet.launch(PLANS).values()
        time.sleep(seconds)
        print(f"{'supervisor':<14} {'slots led':>9} {'median ms':>9} {'p95 ms':>7}")
        for node in nodes:
            if "supervisor" not in node.plan.roles:
                continue
            (task,) = [t["task"] for t in node.call("task.list") if t["predefined"]]
            keys = node.call("task.show", task=task)["keys"]
            row = (keys["slots_led"], keys["slot_ms_median"], keys["slot_ms_p95"])
            print(f"{node.plan.name:<14} {row[0]:>9} {row[1] or '-':>9} {row[2] or '-':>7}")


if __name__ == "__main__":
    main()
