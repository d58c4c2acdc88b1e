"""Skip conditions for clients in other languages: each needs its language, and CI has them all."""

import shutil

NEEDED = {"test_javascript.py": "node", "test_haskell.py": "ghc"}

collect_ignore = [file for file, program in NEEDED.items() if shutil.which(program) is None]
