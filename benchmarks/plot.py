"""Plot of the results: owt beside other servers, and the used part of the limit of each goal."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from calls import FLOOR, STOCK, Comparison, Side
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measuring import Row, number
from peers import FLASK, GATEWAY, LITSERVE

OWN, OTHER, BARE, MISSED = "#1f6fb4", "#b9bec5", "#dfe2e6", "#c8442b"
P50 = "one warm call: p50, ms (shorter is better)"
RATE = "8 clients on one session: calls/s (longer is better)"
SHARES = "goals: used part of each limit"
MAX_SHARE = 2.5
NAMES = {
    FLOOR: "bare Tornado, writes “hi”",
    FLASK: "Flask dev server, exec",
    LITSERVE: "LitServe, fixed code",
    GATEWAY: "Kernel Gateway",
    STOCK: "stock execute, no HTTP",
}
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "owt", "font.size": 9}


def draw(pieces: Sequence[object], path: Path) -> None:
    """Draw the results as SVG. Equal figures give equal files."""
    with matplotlib.rc_context(STYLE):
        _figure(pieces).savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _figure(pieces: Sequence[object]) -> Figure:
    comparisons = [piece for piece in pieces if isinstance(piece, Comparison)]
    goals = [piece for piece in pieces if isinstance(piece, Row) and piece.goal and not piece.problem]
    height = 0.6 + 0.26 * max(8, len(goals))
    figure = Figure(figsize=(8.6, 2.3 + height), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[2.3, height])
    p50, rate = above.subfigures(1, 2)
    for part, title in ((p50, P50), (rate, RATE), (below, SHARES)):
        part.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    for comparison in comparisons[:1]:
        _bars(p50.subplots(), comparison, lambda side: side.p50)
        _bars(rate.subplots(), comparison, lambda side: side.rate_8)
    _goals(below.subplots(), goals)
    return figure


def _bars(axes: Axes, comparison: Comparison, figures: Callable[[Side], list[float]]) -> None:
    """Draw a bar for each measured side, with its figure."""
    sides = [side for side in comparison.sides if figures(side) and not side.problem]
    medians = [statistics.median(figures(side)) for side in sides]
    colors = [{"owt": OWN, FLOOR: BARE}.get(side.name, OTHER) for side in sides]
    bars = axes.barh([NAMES.get(side.name, side.name) for side in sides], medians, color=colors, height=0.7)
    axes.bar_label(bars, [number(median) for median in medians], padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.17 * max(medians, default=1))
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    for label in axes.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() == "owt" else "normal")
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _goals(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw a bar for each goal, whose length is the used part of its limit, with the measured value."""
    shares = [min(row.share, MAX_SHARE) for row in rows]
    colors = [OWN if row.reached else MISSED for row in rows]
    places = range(len(rows))
    axes.barh(places, shares, color=colors, height=0.55)
    axes.axvline(1, color="#444", linewidth=1, linestyle="--")
    axes.set_xlim(0, max([1.3, *shares]))
    axes.set_yticks(places, [row.what for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.set_xticks([0, 0.5, 1], ["0", "half", "limit"])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    for place, row in zip(places, rows, strict=True):
        axes.text(
            1.01,
            place,
            _measured(row),
            transform=axes.get_yaxis_transform(),
            va="center",
            color="black" if row.reached else MISSED,
        )


def _measured(row: Row) -> str:
    assert row.goal is not None
    sense = "≤" if row.goal.at_most else "≥"
    match row.goal.of:
        case "ratio":
            return f"{row.measured:.2f} x  ({sense} {row.goal.limit:g} x)"
        case "figure":
            return f"{number(row.measured)}  ({sense} {row.goal.limit:g} {row.unit})"
        case "difference":
            return f"{row.measured:+.2g}  ({sense} +{row.goal.limit:g} {row.unit})"
