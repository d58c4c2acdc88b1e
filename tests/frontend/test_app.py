"""owt.frontend.app: the process of a server."""

from __future__ import annotations

import subprocess
import sys

SERVE = """
import gc, os, signal, sys
from owt.frontend import app
from owt.frontend.config.settings import Settings

def on_ready(url):
    print(gc.get_freeze_count(), len(gc.get_objects()))
    os.kill(os.getpid(), signal.SIGTERM)

sys.exit(app.serve(Settings(port=0, pool_min=0), on_ready))
"""


def test_the_garbage_collector_leaves_out_what_was_imported() -> None:
    command = [sys.executable, "-c", SERVE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    frozen, others = map(int, done.stdout.splitlines()[-1].split())
    assert frozen > 10 * others
