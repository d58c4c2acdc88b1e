"""The clients in other languages are tested where their languages are; CI has them all."""

import shutil

NEEDED = {"test_javascript.py": "node", "test_haskell.py": "ghc"}

collect_ignore = [file for file, program in NEEDED.items() if shutil.which(program) is None]
