"""`python -m owt.client` is `owt call`."""

import sys

from owt.cli import main

sys.exit(main(["call", *sys.argv[1:]]))
