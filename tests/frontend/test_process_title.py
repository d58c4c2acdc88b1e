"""owt.frontend.process_title: the command line that others see. ActiveRun servers show the rest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from owt.frontend.config.settings import Settings
from owt.frontend.process_title import title

HASH = hashlib.sha256(b"secret").hexdigest()


def test_what_was_set_is_shown_and_nothing_else() -> None:
    chosen = Settings(port=80, pool_min=0, fork=False, show_examples=True, verbose=2, allow_host=("a", "b"))
    words = "owt serve --port 80 --allow-host a --allow-host b -vv --pool-min 0 --no-fork --show-examples"
    assert title(chosen) == words


def test_the_port_is_shown_in_any_case() -> None:
    assert title(Settings()) == "owt serve --port 9876"


def test_secrets_are_not_shown_and_where_they_are_is() -> None:
    users = (f"ada:{HASH}", f"bob:{HASH}")
    chosen = Settings(auth=users, token=("0123456789abcdef",), auth_file=Path("users"))
    assert title(chosen) == "owt serve --port 9876 --auth ... --auth ... --auth-file users --token ..."


def test_a_path_that_is_no_text_is_shown_as_far_as_it_is() -> None:
    assert title(Settings(auth_file=Path("us\udce9rs"))) == "owt serve --port 9876 --auth-file us?rs"
