"""`python -m owt` is the command `owt`."""

import sys

from owt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
