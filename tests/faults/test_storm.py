"""A small storm: frontends are killed while clients call, stream and connect."""

from __future__ import annotations

import storm

# Outcomes that even a small storm has. `make storm` runs a larger one.
NEEDED = {"count: right", "follow: right", "detach: right", "connect: answered", "kill: starting"}


def test_nothing_is_lost_doubled_or_refused_when_frontends_are_killed() -> None:
    outcomes = storm.run(kills=5, sessions=2, streams=8, length=20, seed=1).outcomes
    assert outcomes.keys() >= NEEDED, outcomes
