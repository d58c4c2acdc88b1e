"""Parts of a benchmark: goals, rows of figures, and measurements in turns.

A *measurement* yields rows. A row has owt's figures, one for each round, and the figures of the other side
of the comparison, from the same rounds. A row that could not be measured has a problem instead.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Goal:
    """A limit for the ratio of owt's figure to the other side's, for owt's figure, or for the difference.

    `unit` is the unit of a figure and a difference; `against` is the other side of a ratio and a difference.
    """

    limit: float
    unit: str = ""
    at_most: bool = True
    of: Literal["ratio", "figure", "difference"] = "ratio"
    against: str = ""

    def reached(self, measured: float) -> bool:
        return measured <= self.limit if self.at_most else measured >= self.limit

    def text(self) -> str:
        sense = "at most" if self.at_most else "at least"
        match self.of:
            case "ratio":
                times = "" if self.limit == 1 else f"{self.limit:g} times "
                return f"{sense} {times}{self.against}"
            case "figure":
                return f"{sense} {self.limit:g} {self.unit}"
            case "difference":
                return f"{sense} {self.against} + {self.limit:g} {self.unit}"


@dataclass(frozen=True)
class Row:
    """A measured quantity, in `unit`: owt's figures, and those of the other side, `against`."""

    what: str
    unit: str = ""
    own: Sequence[float] = ()
    other: Sequence[float] = ()
    against: str = ""
    goal: Goal | None = None
    problem: str = ""

    @property
    def figure(self) -> float:
        """Median of owt's rounds."""
        return statistics.median(self.own)

    def _median(self, combine: Callable[[float, float], float]) -> float:
        return statistics.median(combine(mine, its) for mine, its in zip(self.own, self.other, strict=True))

    @property
    def ratio(self) -> float | None:
        """Median of the rounds' ratios; each ratio compares two successive figures."""
        return self._median(lambda mine, its: mine / its) if self.other else None

    @property
    def measured(self) -> float:
        """Value that the goal limits."""
        assert self.goal is not None
        match self.goal.of:
            case "ratio":
                return self._median(lambda mine, its: mine / its)
            case "figure":
                return self.figure
            case "difference":
                return self._median(lambda mine, its: mine - its)

    @property
    def reached(self) -> bool | None:
        """Result of the goal; None without a goal or without figures."""
        if self.goal is None or self.problem:
            return None
        return self.goal.reached(self.measured)

    @property
    def share(self) -> float:
        """Used part of the goal's limit: at most 1 if the goal was reached, 0.5 for twice as good."""
        assert self.goal is not None
        measured = max(self.measured, 1e-9)
        if self.goal.of == "difference":
            # The share of the whole time, including the other side's.
            limit = statistics.median(self.other) + self.goal.limit
            return (statistics.median(self.other) + self.measured) / limit
        return measured / self.goal.limit if self.goal.at_most else self.goal.limit / measured


@dataclass(frozen=True)
class Table:
    """A separate table, for results that do not fit into rows."""

    title: str
    heading: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Effort:
    """Extent of a benchmark: the `rounds` of each side, the `seconds` of calls in a round, and the number of
    idle `sessions`."""

    rounds: int = 5
    seconds: float = 2.0
    sessions: int = 500

    def at_most(self, rounds: int) -> int:
        """Return the rounds of a slow measurement."""
        return min(self.rounds, rounds)


class Part(Protocol):
    """A function that yields rows and tables one by one, so that those before a fault are kept."""

    def __call__(self, effort: Effort) -> Iterator[object]: ...


@dataclass(frozen=True)
class Measurement:
    """A part of the benchmark: its `name`, the names of its `rows`, a description, and the function that
    yields the rows in any order, and tables."""

    name: str
    rows: Sequence[str]
    how: str
    measure: Part

    def run(self, effort: Effort, goals: Mapping[str, Goal]) -> Iterator[object]:
        """Yield the rows and tables of `measure`, and a row with the problem for each missing one.

        `goals` are by the rows' names.
        """
        missing = list(self.rows)
        problem = "was not measured"
        try:
            for piece in self.measure(effort):
                if isinstance(piece, Row):
                    missing.remove(piece.what)
                yield piece
        # A fault in one part must not lose the figures of the others.
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            missing = missing or [self.name]
        for what in missing:
            yield Row(what, goal=goals.get(what), problem=problem)


def in_turns(rounds: int, *sides: Callable[[], T], warm: bool = True) -> list[list[T]]:
    """Measure all sides one after the other in each round; return the figures of each side.

    If `warm`, one additional turn at the beginning does not count.
    """
    if warm:
        for side in sides:
            side()
    turns = [[side() for side in sides] for _ in range(rounds)]
    return [list(figures) for figures in zip(*turns, strict=True)]


def spread(figures: Sequence[float]) -> str:
    """Format the median, the minimum and the maximum."""
    if len(figures) == 1:
        return number(figures[0])
    return f"{number(statistics.median(figures))} ({number(min(figures))} to {number(max(figures))})"


def number(figure: float) -> str:
    """Format with three digits, or as a whole number if it is large."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def short(problem: str, length: int = 200) -> str:
    """Shorten a problem to one line that fits into a cell of a table."""
    line = " ".join(problem.split()).replace("|", "\\|")
    return line if len(line) <= length else f"{line[: length - 1]}…"


def by_name(pieces: Sequence[object]) -> Mapping[str, Row]:
    """Return the rows among the pieces, by name."""
    return {piece.what: piece for piece in pieces if isinstance(piece, Row)}
