"""What was measured, as a table in Markdown with the machine that it comes from."""

import os
import platform
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("tornado", "ipykernel", "ipython", "jupyter_client", "pyzmq", "msgspec")


@dataclass(frozen=True)
class Goal:
    """`limit` is for the ratio of owt's figure to the floor's, or, if `absolute`, for owt's own."""

    limit: float
    at_most: bool
    absolute: bool = False

    def reached(self, own: float, ratio: float) -> bool:
        figure = own if self.absolute else ratio
        return figure <= self.limit if self.at_most else figure >= self.limit

    def text(self, unit: str) -> str:
        sense = "at most" if self.at_most else "at least"
        return f"{sense} {self.limit:g} {unit}" if self.absolute else f"{sense} {self.limit:g} of the floor"


@dataclass(frozen=True)
class Row:
    """One thing measured: a figure of owt's and one of the floor's from each round, in `unit`."""

    what: str
    unit: str
    own: Sequence[float]
    floor: Sequence[float]
    goal: Goal

    def ratio(self) -> float:
        """The median of the rounds' ratios, each of which compares two neighbours in time."""
        return statistics.median(mine / bare for mine, bare in zip(self.own, self.floor, strict=True))

    def reached(self) -> bool:
        return self.goal.reached(statistics.median(self.own), self.ratio())

    def cells(self) -> list[str]:
        return [
            self.what,
            f"{spread(self.own)} {self.unit}",
            f"{spread(self.floor)} {self.unit}",
            f"{self.ratio():.2f}",
            self.goal.text(self.unit),
            "reached" if self.reached() else "not reached",
        ]


def spread(figures: Sequence[float]) -> str:
    """The median, then the least and the most."""
    return f"{number(statistics.median(figures))} ({number(min(figures))} to {number(max(figures))})"


def number(figure: float) -> str:
    """Three digits, or whole if it is large."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def document(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The whole of RESULTS.md."""
    heading = ["what", "owt", "floor", "owt / floor", "goal", ""]
    lines = ["# Results", "", *machine("run.py"), ""]
    lines += ["Figures are medians of the rounds, with the least and the most in brackets.", ""]
    lines += table(heading, [row.cells() for row in rows])
    return "\n".join([*lines, "", *notes]) + "\n"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *rows)]


def machine(script: str) -> list[str]:
    """Where, with what, when and by which command of this folder something was measured."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"- machine: {os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.machine()}",
        f"- {platform.python_implementation()} {platform.python_version()}, {packages}",
        f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- command: `{shlex.join(['python', f'benchmarks/{script}', *sys.argv[1:]])}`",
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown processor"
