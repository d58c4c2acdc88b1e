"""What a benchmark is made of: goals, rows of figures, and how figures are taken in turns.

A *measurement* gives rows. A row has owt's figures, one from each round, and the figures of what owt is
compared with, from the same rounds. A row that could not be measured has a problem instead.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Goal:
    """A limit for the ratio of owt's figure to the other's, for owt's own, or for the difference of both.

    `unit` is that of a figure and a difference, and `against` the other of a ratio and a difference.
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
    """One thing measured, in `unit`: owt's figures, and those of what it is compared with, `against`."""

    what: str
    unit: str = ""
    own: Sequence[float] = ()
    other: Sequence[float] = ()
    against: str = ""
    goal: Goal | None = None
    problem: str = ""

    @property
    def figure(self) -> float:
        """owt's: the median of the rounds."""
        return statistics.median(self.own)

    def _median(self, combine: Callable[[float, float], float]) -> float:
        return statistics.median(combine(mine, its) for mine, its in zip(self.own, self.other, strict=True))

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios, each of which compares two neighbours in time."""
        return self._median(lambda mine, its: mine / its) if self.other else None

    @property
    def measured(self) -> float:
        """What the goal's limit is for."""
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
        """None without a goal, or without figures."""
        if self.goal is None or self.problem:
            return None
        return self.goal.reached(self.measured)

    @property
    def share(self) -> float:
        """The part of the goal's limit that was used: at most 1 if it was reached, 0.5 for twice as good."""
        assert self.goal is not None
        measured = max(self.measured, 1e-9)
        if self.goal.of == "difference":
            # Of all the time that there is, the other's included.
            most = statistics.median(self.other) + self.goal.limit
            return (statistics.median(self.other) + self.measured) / most
        return measured / self.goal.limit if self.goal.at_most else self.goal.limit / measured


@dataclass(frozen=True)
class Table:
    """What has another shape than rows do: a table of its own, below them."""

    title: str
    heading: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Effort:
    """How much is measured. `rounds` are the turns that each side has, `seconds` how long calls are made in
    each, `sessions` how many are kept idle."""

    rounds: int = 5
    seconds: float = 2.0
    sessions: int = 500

    def at_most(self, rounds: int) -> int:
        """Rounds of what takes long."""
        return min(self.rounds, rounds)


class Part(Protocol):
    """What `measure` gives, piece by piece, so that what came before a fault is kept."""

    def __call__(self, effort: Effort) -> Iterator[object]: ...


@dataclass(frozen=True)
class Measurement:
    """A part of the benchmark: its `name`, the `rows` that it promises, how each is `measured`, and the
    function that gives them, in any order, perhaps with other things between."""

    name: str
    rows: Sequence[str]
    how: str
    measure: Part

    def run(self, effort: Effort, goals: Mapping[str, Goal]) -> Iterator[object]:
        """What `measure` gives, and a row with the problem for each that it promised and did not give; the
        `goals` are by the rows' names."""
        missing = list(self.rows)
        problem = "was not measured"
        try:
            for piece in self.measure(effort):
                if isinstance(piece, Row):
                    missing.remove(piece.what)
                yield piece
        # One part's fault, whatever it is, must not cost the others' figures.
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            missing = missing or [self.name]
        for what in missing:
            yield Row(what, goal=goals.get(what), problem=problem)


def in_turns(rounds: int, *sides: Callable[[], T], warm: bool = True) -> list[list[T]]:
    """Figures of each side, all measured one after the other in each round; if `warm`, one turn of each
    before does not count."""
    if warm:
        for side in sides:
            side()
    turns = [[side() for side in sides] for _ in range(rounds)]
    return [list(figures) for figures in zip(*turns, strict=True)]


def spread(figures: Sequence[float]) -> str:
    """The median, then the least and the most."""
    if len(figures) == 1:
        return number(figures[0])
    return f"{number(statistics.median(figures))} ({number(min(figures))} to {number(max(figures))})"


def number(figure: float) -> str:
    """Three digits, or whole if it is large."""
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def short(problem: str, length: int = 200) -> str:
    """A problem on one line that fits in a table's cell."""
    line = " ".join(problem.split()).replace("|", "\\|")
    return line if len(line) <= length else f"{line[: length - 1]}…"


def by_name(pieces: Sequence[object]) -> Mapping[str, Row]:
    """The rows among the pieces."""
    return {piece.what: piece for piece in pieces if isinstance(piece, Row)}
