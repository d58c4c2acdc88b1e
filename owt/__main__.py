"""`python -m owt` is `owt`."""

from __future__ import annotations

import sys

from owt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
