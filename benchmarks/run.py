"""Measure owt beside bare Tornado, stock Jupyter and others on this machine.

    python benchmarks/run.py [--only REGEX] [--rounds 5] [--quick] [--into DIR]

Writes RESULTS.md and results.svg beside this file. With --only or --quick they are written only where
--into says. Exit status 1 only when something did not work, not when a goal is missed.
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
import memory
import peers
import plot
import speech
import starts
import streams
from goals import GOALS
from measuring import Effort, Measurement, Row, Table
from report import cells, document, table

HERE = Path(__file__).parent
QUICK = Effort(rounds=1, seconds=1, sessions=20)

MEASUREMENTS = (
    *calls.MEASUREMENTS,
    *bodies.MEASUREMENTS,
    *streams.MEASUREMENTS,
    *starts.MEASUREMENTS,
    *idle.MEASUREMENTS,
    *memory.MEASUREMENTS,
    *speech.MEASUREMENTS,
)


def measure(
    measurements: Sequence[Measurement], effort: Effort
) -> list[tuple[Measurement, float, Sequence[object]]]:
    """Everything, one after another: with each the seconds that it took, and what came out."""
    parts = []
    for measurement in measurements:
        print(f"\n{measurement.name}", flush=True)
        started = time.perf_counter()
        found = []
        for piece in measurement.run(effort, GOALS):
            found.append(piece)
            match piece:
                case Row():
                    print("  " + " | ".join(cells(piece)), flush=True)
                case Table():
                    print("\n".join(f"  {line}" for line in table(piece.heading, piece.lines)), flush=True)
        parts.append((measurement, time.perf_counter() - started, found))
        print(f"  {parts[-1][1]:.0f} s", flush=True)
    return parts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="REGEX", help="measure the parts whose name has a match")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help="turns of each that is measured")
    parser.add_argument("--quick", action="store_true", help="one short round, to see whether it works")
    parser.add_argument("--into", type=Path, metavar="DIR", help="where the results are written")
    options = parser.parse_args()
    chosen = [each for each in MEASUREMENTS if re.search(options.only or "", each.name)]
    if not chosen:
        parser.error(f"--only {options.only}: there are {', '.join(each.name for each in MEASUREMENTS)}")
    effort = QUICK if options.quick else Effort(rounds=options.rounds)

    parts = measure(chosen, effort)
    into = options.into or (None if options.only or options.quick else HERE)
    if into is not None:
        into.mkdir(parents=True, exist_ok=True)
        pieces = [piece for _, _, found in parts for piece in found]
        compared = any(isinstance(piece, calls.Comparison) for piece in pieces)
        (into / "RESULTS.md").write_text(document(parts, peers.versions() if compared else {}, "run.py"))
        plot.draw(pieces, into / "results.svg")
    failed = [piece for _, _, found in parts for piece in found if isinstance(piece, Row) and piece.problem]
    for row in failed:
        print(f"benchmarks: {row.what}: {row.problem}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
