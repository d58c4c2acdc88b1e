"""`python -m owt.client` is `owt call`."""

import sys

from owt.cli.main import main

sys.exit(main(["call", *sys.argv[1:]]))
