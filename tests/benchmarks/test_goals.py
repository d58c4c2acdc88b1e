"""Goals of the benchmarks: each has measured rows."""

from __future__ import annotations

from collections import Counter

import goals
import pytest
import run

PROMISED = [row for part in run.MEASUREMENTS for row in part.rows]


@pytest.mark.parametrize(
    ("what", "limits"),
    [
        ("a warm call", {goals.WARM: "at most 2.5 times bare Tornado"}),
        ("warm calls of 8 clients", {goals.WARM_8: "at least 0.6 times bare Tornado"}),
        ("1 MiB of kwargs", {goals.KWARGS: "at most 2 times bare Tornado with the same body"}),
        (
            "CPU time of a warm call",
            {
                goals.CPU_FRONTEND: "at most 1.65 times bare Tornado",
                goals.CPU_KERNEL: "at most bare Tornado",
                goals.CPU_FRONTEND_64: "at most 1.1 times 8 clients",
            },
        ),
        ("a warm call beside live runs", {goals.CPU_BY_LIVE_RUNS: "at most 1.1 times 1 live run"}),
        ("the first output", {goals.FIRST_PRINT: "at most 2 ms", goals.FIRST_YIELD: "at most 2 ms"}),
        ("1 KiB chunks", {goals.CHUNKS_1K: "at least 0.4 times bare Tornado"}),
        ("64 KiB chunks", {goals.CHUNKS_64K: "at least 0.4 times bare Tornado"}),
        ("1 MiB chunks", {goals.CHUNKS_1M: "at least bare Tornado"}),
        ("a new session", {goals.FROM_POOL: "at most 10 ms", goals.BY_FORK: "at most 60 ms"}),
        ("a heavy import", {goals.FROM_POOL_HEAVY: "at most 10 ms", goals.BY_FORK_HEAVY: "at most 60 ms"}),
        ("one idle session", {goals.ONE_IDLE: "at most 14 MB"}),
        (
            "idle sessions",
            {goals.IDLE_ANSWERING: "at least 500 sessions", goals.IDLE_CPU: "at most 2 % of a core"},
        ),
        (
            "a reader that stops",
            {goals.STALLED_FRONTEND: "at most 12 MiB", goals.STALLED_KERNEL: "at most 12 MiB"},
        ),
        (
            "a large body",
            {
                goals.BODY: "at most 1000 ms",
                goals.BODY_GROWTH: "at most 10 times a body of 10 MB",
                goals.NEIGHBOUR: "at most 50 ms",
            },
        ),
        ("a restart", {goals.GAP: "at most 500 ms", goals.RELOAD: "at most 500 ms"}),
        (
            "the price of keeping sessions",
            {
                goals.KEEP_WARM: "at most 1.05 times without --keep",
                goals.KEEP_CHUNKS: "at least 0.95 times without --keep",
                goals.KEEP_HOST: "at most 25 MB",
                goals.KEEP_IDLE: "at most 14 MB",
            },
        ),
        ("speech", {goals.SPEECH: "at most the model alone + 5 ms"}),
    ],
)
def test_every_goal_has_measured_rows(what: str, limits: dict[str, str]):
    for row, limit in limits.items():
        assert goals.GOALS[row].text() == limit
        assert row in PROMISED


def test_every_goal_is_measured_by_one_part_only():
    counted = Counter(PROMISED)
    assert {goal: counted[goal] for goal in goals.GOALS} == dict.fromkeys(goals.GOALS, 1)


def test_parts_and_rows_have_unique_names():
    assert len(PROMISED) == len(set(PROMISED))
    names = [part.name for part in run.MEASUREMENTS]
    assert len(names) == len(set(names))
