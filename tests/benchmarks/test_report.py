"""The document, the table of servers and the plot."""

from __future__ import annotations

import re
from pathlib import Path

import peers
import plot
import pytest
from calls import FLOOR, Comparison, Side
from goals import FROM_POOL, GOALS, WARM
from measuring import Measurement, Row
from report import cells, document, headlines

ROOT = Path(__file__).parents[2]
MEASURED = Row(WARM, "ms", [0.5, 0.4, 0.6], [0.2, 0.2, 0.2], FLOOR, GOALS[WARM])
FAILED = Row(FROM_POOL, goal=GOALS[FROM_POOL], problem="ValueError: a | b\nand more")


def side(name: str, *, problem: str = "") -> Side:
    return Side(name, p50=[1.0], rate=[900.0], rate_8=[800.0], problem=problem)


def compared(*others: Side) -> Comparison:
    return Comparison("Elsewhere", ["server"], [], (side(FLOOR), side("owt"), *others))


def test_a_row_shows_goal_measured_value_ratio_and_result():
    assert cells(MEASURED) == [
        WARM,
        "at most 2.5 times bare Tornado",
        "0.5 (0.4 to 0.6) ms",
        "0.2 (0.2 to 0.2) ms, bare Tornado",
        "2.5",
        "reached",
    ]


def test_a_row_without_a_goal_shows_none():
    assert cells(Row("cold start", "ms", [5]))[1] == "none"


def test_a_failed_row_shows_its_error_on_one_line():
    assert cells(FAILED) == [FROM_POOL, "at most 10 ms", "ValueError: a \\| b and more", "", "", "failed"]


def test_every_row_is_in_the_document_and_failed_ones_are_not_counted_as_reached():
    part = Measurement("calls", (WARM, FROM_POOL), "by calling", lambda effort: iter(()))
    text = document([(part, 12.0, [MEASURED, FAILED])], {"flask": "3.0"}, "run.py")
    assert "- 1 of 2 goals reached" in text
    assert "- compared with flask 3.0" in text
    assert re.search(rf"^\| {re.escape(WARM)} \|.*\| reached \|$", text, re.MULTILINE)
    assert re.search(rf"^\| {re.escape(FROM_POOL)} \|.*\| failed \|$", text, re.MULTILINE)
    assert "(`--only calls`, 12 s): by calling." in text


def test_a_peer_that_fails_leaves_the_others_their_figures():
    def fail(clients: int) -> dict:
        raise ValueError("wrk met errors")

    broken, other = Side(peers.GATEWAY, fail), Side(peers.FLASK, lambda clients: {"p50": 0.001, "rate": 900})
    for clients in (1, 8):
        broken.turn(clients)
        other.turn(clients)
    assert broken.cells(other)[:2] == [peers.GATEWAY, "wrk met errors"]
    assert (other.p50, other.rate, other.rate_8) == ([1.0], [900], [900])


def test_a_ratio_whose_peer_failed_is_no_headline():
    assert len(headlines([MEASURED, compared(side(peers.GATEWAY))])) == 2
    assert len(headlines([MEASURED, compared(side(peers.GATEWAY, problem="no network"))])) == 1


@pytest.mark.parametrize("pieces", [[MEASURED, FAILED, compared(side(peers.GATEWAY))], [FAILED]])
def test_the_same_figures_give_the_same_plot(tmp_path: Path, pieces: list[object]):
    for name in ("one.svg", "two.svg"):
        plot.draw(pieces, tmp_path / name)
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert (WARM in text) == (MEASURED in pieces)


def test_ratios_in_the_readme_are_those_of_the_last_results():
    readme = (ROOT / "README.md").read_text()
    [section] = re.findall(r"^## Speed\n(.*?)^## ", readme, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^- .*$", section, re.MULTILINE)
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text().splitlines()
    assert len(lines) == 3
    assert [line for line in lines if line not in results] == []
