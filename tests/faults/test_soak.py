"""A short soak: mixed clients, while kernels are killed, stopped, restarted and deleted."""

from __future__ import annotations

import soak

# Outcomes that even a short soak has. `make soak` runs longer, with more clients.
NEEDED = {"whole: right", "counted: right", "streamed: right", "events: right", "bystander: right"}


def test_every_answer_of_a_soak_is_right_or_documented_and_nothing_is_left_behind() -> None:
    outcomes = soak.run(seconds=8, clients=60, seed=1)
    assert outcomes.keys() >= NEEDED, outcomes
    assert any(outcome.startswith("chaos") for outcome in outcomes), outcomes
