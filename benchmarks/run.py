"""Measure owt beside bare Tornado, stock Jupyter and others on this machine.

    python benchmarks/run.py [--only REGEX] [--rounds 5] [--quick] [--into DIR]

Writes RESULTS.md and results.svg beside this file. With --only or --quick it writes them only to the folder
of --into. The exit status is 1 only for a fault, not for a missed goal.
"""

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import bodies
import calls
import idle
import keeping
import memory
import peers
import plot
import sockets
import speech
import starts
import streams
import uploads
from goals import GOALS
from measuring import Effort, Measurement, Row, Table
from report import cells, document, table

FOLDER = Path(__file__).parent
QUICK = Effort(rounds=1, seconds=1, sessions=20)

MEASUREMENTS = (
    *calls.MEASUREMENTS,
    *bodies.MEASUREMENTS,
    *uploads.MEASUREMENTS,
    *sockets.MEASUREMENTS,
    *streams.MEASUREMENTS,
    *starts.MEASUREMENTS,
    *idle.MEASUREMENTS,
    *keeping.MEASUREMENTS,
    *memory.MEASUREMENTS,
    *speech.MEASUREMENTS,
)


def measure(
    measurements: Sequence[Measurement], effort: Effort
) -> list[tuple[Measurement, float, Sequence[object]]]:
    """Run all measurements one after another; return each with its seconds and its rows and tables."""
    parts = []
    for measurement in measurements:
        print(f"\n{measurement.name}", flush=True)
        started = time.perf_counter()
        pieces = []
        for piece in measurement.run(effort, GOALS):
            pieces.append(piece)
            match piece:
                case Row():
                    print("  " + " | ".join(cells(piece)), flush=True)
                case Table():
                    print("\n".join(f"  {line}" for line in table(piece.heading, piece.lines)), flush=True)
        parts.append((measurement, time.perf_counter() - started, pieces))
        print(f"  {parts[-1][1]:.0f} s", flush=True)
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="REGEX", help="measure only the parts whose name matches")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="rounds of each measurement")
    parser.add_argument("--quick", action="store_true", help="one short round, as a check of the benchmark")
    parser.add_argument("--into", type=Path, metavar="DIR", help="folder for the results")
    options = parser.parse_args()
    chosen = [part for part in MEASUREMENTS if re.search(options.only or "", part.name)]
    if not chosen:
        parser.error(
            f"--only {options.only}: no part matches; parts: {', '.join(part.name for part in MEASUREMENTS)}"
        )
    effort = QUICK if options.quick else Effort(rounds=options.rounds)

    parts = measure(chosen, effort)
    into = options.into or (None if options.only or options.quick else FOLDER)
    if into is not None:
        into.mkdir(parents=True, exist_ok=True)
        pieces = [piece for _, _, results in parts for piece in results]
        compared = any(isinstance(piece, calls.Comparison) for piece in pieces)
        (into / "RESULTS.md").write_text(document(parts, peers.versions() if compared else {}, "run.py"))
        plot.draw(pieces, into / "results.svg")
    failed = [row for _, _, results in parts for row in results if isinstance(row, Row) and row.problem]
    for row in failed:
        print(f"benchmarks: {row.what}: {row.problem}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
