"""`python -m owt.client` is `owt call`."""

import sys

from owt.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["call", *sys.argv[1:]]))
