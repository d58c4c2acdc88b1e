"""`python -m owt.server` is `owt serve`."""

import sys

from owt.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
