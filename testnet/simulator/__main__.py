"""`python -m testnet.simulator` is `p2pai sim`."""

import sys

from p2pai.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "sim")
    main()
