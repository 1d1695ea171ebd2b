"""`python -m p2pai` is the command `p2pai`."""

from p2pai.cli.main import main

if __name__ == "__main__":
    main()
