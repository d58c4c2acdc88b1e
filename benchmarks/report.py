"""The results as a Markdown document, with the machine that they come from."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import wrk
from calls import Comparison
from goals import FROM_POOL, WARM
from measuring import Measurement, Row, Table, by_name, short, spread
from peers import GATEWAY

PACKAGES = ("tornado", "ipykernel", "ipython", "jupyter_client", "pyzmq", "msgspec")
HEADING = ("what", "goal", "owt", "compared with", "ratio", "")
NOTES = (
    "Figures are medians of the rounds, with the minimum and the maximum in brackets. Each round measures "
    "both sides of a comparison, one after the other; a ratio is the median of the rounds' ratios, so that "
    "other work of the machine affects both sides.",
    "Each server and each client is a process of its own. Calls of several clients, and warm calls "
    "of one client, are made by {load}; all other calls by blocking sockets.",
    "1 MB is 10⁶ bytes, 1 MiB is 2²⁰.",
)


def cells(row: Row) -> list[str]:
    """Return the row's line of the table."""
    goal = row.goal.text() if row.goal else "none"
    if row.problem:
        return [row.what, goal, short(row.problem), "", "", "failed"]
    other = f"{spread(row.other)} {row.unit}, {row.against}" if row.other else ""
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    reached = {True: "reached", False: "**not reached**", None: ""}[row.reached]
    return [row.what, goal, f"{spread(row.own)} {row.unit}", other, ratio, reached]


def headlines(pieces: Sequence[object]) -> list[str]:
    """Return the three most important ratios, if they were measured; README.md shows the same lines."""
    rows = by_name(pieces)
    lines = []
    if (warm := rows.get(WARM)) and warm.ratio:
        times = _two(warm.ratio)
        lines.append(f"A warm call takes {times} times as long as bare Tornado takes to write `hi`.")
    for table in pieces:
        if isinstance(table, Comparison) and (ratio := table.times(GATEWAY)):
            lines.append(
                f"With 8 clients, owt answers {_two(ratio)} times as many calls a second as Kernel Gateway."
            )
    if (new := rows.get(FROM_POOL)) and new.ratio:
        times = _two(1 / new.ratio)
        lines.append(
            f"A stock kernel takes {times} times as long to its first answer as a new session of owt."
        )
    return [f"- {line}" for line in lines]


def _two(ratio: float) -> str:
    """Format with two digits, or as a whole number if it is large."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def document(
    parts: Sequence[tuple[Measurement, float, Sequence[object]]], peers: Mapping[str, str], script: str
) -> str:
    """Return the text of RESULTS.md. `parts` are the measurements with their seconds and their rows and
    tables; `peers` are the versions of the other servers."""
    pieces = [piece for _, _, results in parts for piece in results]
    rows = [piece for piece in pieces if isinstance(piece, Row)]
    with_goal, without = [row for row in rows if row.goal], [row for row in rows if not row.goal]
    reached = [row.reached for row in with_goal if row.reached is not None]
    lines = ["# Results", "", *machine(script)]
    if peers:
        lines.append(f"- compared with {', '.join(f'{name} {number}' for name, number in peers.items())}")
    lines += [f"- {sum(reached)} of {len(with_goal)} goals reached", ""]
    lines += [*headlines(pieces), ""] if headlines(pieces) else []
    lines += ["![owt, its goals, and others](results.svg)", ""]
    lines += [*table(HEADING, [cells(row) for row in (*with_goal, *without)]), ""]
    for piece in pieces:
        if isinstance(piece, Table):
            lines += [f"## {piece.title}", "", *table(piece.heading, piece.lines), ""]
    lines += ["## How it is measured", ""]
    load = (
        "wrk with one thread" if wrk.COMMAND else "a client in Python (asyncio), because wrk is not installed"
    )
    lines += [f"{note.format(load=load)}\n" for note in NOTES]
    for measurement, seconds, results in parts:
        what = [piece.what for piece in results if isinstance(piece, Row)]
        what += [piece.title for piece in results if isinstance(piece, Table)]
        only = f"`--only {measurement.name}`, {seconds:.0f} s"
        lines.append(f"- **{'; '.join(what)}** ({only}): {measurement.how}.")
    total = sum(seconds for _, seconds, _ in parts)
    return "\n".join([*lines, "", f"All measurements took {total / 60:.1f} minutes."]) + "\n"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return ["| " + " | ".join(cells) + " |" for cells in (heading, ["---"] * len(heading), *rows)]


def machine(script: str) -> list[str]:
    """Return lines about the machine, the packages, the date and the command of a measurement."""
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
