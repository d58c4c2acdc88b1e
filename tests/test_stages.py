"""The program that runs both stages of the tests."""

from __future__ import annotations

import pytest
import stages


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([0, 0], 0, id="both-pass"),
        pytest.param([0, 1], 1, id="second-fails"),
        pytest.param([1], 1, id="first-fails"),
        pytest.param([2], 2, id="interrupted"),
        pytest.param([5, 0], 0, id="none-selected-in-the-first"),
        pytest.param([0, 5], 0, id="none-selected-in-the-second"),
        pytest.param([5, 1], 1, id="only-second-and-fails"),
        pytest.param([5, 5], 5, id="none-selected"),
    ],
)
def test_the_second_stage_starts_unless_the_first_failed(
    monkeypatch: pytest.MonkeyPatch, statuses: list[int], expected: int
) -> None:
    commands: list[list[str]] = []

    def call(command: list[str], env: dict[str, str]) -> int:
        assert "PYTHONDONTWRITEBYTECODE" not in env
        commands.append(command)
        return statuses[len(commands) - 1]

    monkeypatch.setattr(stages.subprocess, "call", call)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert stages.main(["-k", "a or b"]) == expected
    assert len(commands) == len(statuses)
    for command, stage in zip(commands, ("first", "second"), strict=False):
        assert command[-3:] == [f"--stage={stage}", "-k", "a or b"]
