"""Rows, goals and parts of a benchmark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from measuring import Effort, Goal, Measurement, Row, in_turns, spread


def test_a_ratio_compares_the_figures_of_one_round():
    # A machine that became twice as slow after the first round: the ratio of medians would be another one.
    row = Row("call", "ms", own=[2, 4, 6], other=[1, 2, 2])
    assert row.ratio == 2


def test_a_row_without_another_side_has_no_ratio():
    assert Row("memory", "MB", own=[5]).ratio is None


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(2), True),
        (Goal(1.9), False),
        (Goal(2, at_most=False), True),
        (Goal(2.1, at_most=False), False),
        (Goal(4, of="figure"), True),
        (Goal(3.9, of="figure"), False),
        (Goal(2, of="difference"), True),
        (Goal(1.9, of="difference"), False),
    ],
)
def test_a_goal_is_for_the_ratio_the_figure_or_the_difference(goal: Goal, reached: bool):
    row = Row("call", "ms", own=[4], other=[2], goal=goal)
    assert row.reached is reached
    assert (row.share <= 1) is reached


def test_a_row_without_a_goal_is_neither_reached_nor_missed():
    assert Row("call", "ms", own=[4], other=[2]).reached is None


def part(*rows: str, measure) -> Measurement:
    return Measurement("part", rows, "somehow", measure)


def test_fault_costs_only_the_rows_not_yet_measured():
    def measure(effort: Effort) -> Iterator[Row]:
        yield Row("first", "ms", own=[1])
        raise ValueError("no such server")

    first, second = part("first", "second", measure=measure).run(Effort(), {})
    assert (first.what, first.problem) == ("first", "")
    assert (second.what, second.problem) == ("second", "ValueError: no such server")


def test_fault_after_all_rows_is_reported():
    def measure(effort: Effort) -> Iterator[Row]:
        yield Row("first", "ms", own=[1])
        raise ValueError("no such server")

    first, whole = part("first", measure=measure).run(Effort(), {})
    assert (first.what, first.problem) == ("first", "")
    assert (whole.what, whole.problem) == ("part", "ValueError: no such server")


def test_missing_row_is_reported():
    goal = Goal(4)
    [row] = part("first", measure=lambda effort: iter(())).run(Effort(), {"first": goal})
    assert (row.what, row.problem, row.goal) == ("first", "was not measured", goal)


def test_sides_alternate_and_the_first_round_is_not_counted():
    order = []

    def side(name: str):
        def measure() -> int:
            order.append(name)
            return len(order)

        return measure

    assert in_turns(2, side("a"), side("b")) == [[3, 5], [4, 6]]
    assert order == ["a", "b"] * 3


def test_figures_are_shown_with_their_spread():
    assert spread([0.5, 1234, 0.25]) == "0.5 (0.25 to 1,234)"
    assert spread([2.0]) == "2"
