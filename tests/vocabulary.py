"""Words that owt's code does not use, each with the standard term that replaces it.

    python tests/vocabulary.py [PATH ...]     list what breaks the rules below these paths (default: owt)
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

NOUN_CLAUSES = ("What", "Whether", "Who", "Whoever", "Which", "How", "Where", "Why", "As", "Nothing", "So")
"""First words of a docstring that make it a noun clause. A function's docstring begins with an imperative,
that of a class or a module with a noun phrase."""

FUNCTION_WORDS = (
    "nor", "so", "of", "in", "as", "and", "but", "also", "not", "what", "who", "whoever", "nobody",
    "somebody", "neither", "which", "whether", "how", "where", "there", "such", "that", "then",
    "it", "its", "they", "these", "even", "only",
)
"""Words that do not begin the name of a test, which has a subject and the expected behaviour."""

WORDS = {
    r"nobody|no one|somebody|someone|whoever|anybody": "the role: client, caller, reader, user, process",
    r"who (asks|calls|comes|waits|reads|brings|wants|has|is|may|cannot|does)": "the role and 'that'",
    r"(is|are|be|was|were|being) told": "receives, gets, is notified of",
    r"hears?( of)?|heard": "receives, is notified of",
    r"tells? of": "reports",
    r"knock(s|ing|ed)?|doors?|doorkeeper": "kernel listener, authenticator",
    r"lanes?": "connection (call connection, control connection)",
    r"guests?": "kernel handler",
    r"greetings?|prefaces?": "handshake",
    r"outlets?": "output sender",
    r"envelopes?": "response tuple",
    r"tally": "counters",
    r"disguises?": "process title",
    r"sweeps?|sweeping": "clean up, reap",
    r"bury|buried|buries": "clean up",
    r"richness": "representations",
    r"jsonable": "JSON encoding",
    r"let(s|ting)? go": "close, release",
    r"keep(s|ing)? house": "maintenance",
    r"ours|theirs": "the noun: our error, the peer's socket",
    r"by itself alone": "alone",
    r"and so (is|are|does|do|has|have)": "repeat the verb, or make a list",
    r"neither (is|are|does|do|has|have)": "repeat the verb, or make a list",
}
"""Patterns for words in comments, docstrings and messages, with the standard term."""

NAMES = {
    "each": "the thing's own noun",
    "found": "the thing's own noun",
    "given": "the thing's own noun; injected_names",
    "told": "the thing's own noun",
    "taken": "the thing's own noun",
    "asked": "the thing's own noun",
    "made": "the thing's own noun",
    "wanted": "the thing's own noun",
    "shown": "the thing's own noun",
    "said": "the thing's own noun",
    "got": "the thing's own noun; actual",
    "here": "local_runner, or the thing's own noun",
    "most": "max_...",
    "least": "min_...",
    "door": "listener",
    "guest": "handler",
    "lane": "connection",
    "tally": "counters",
    "outlet": "sender",
    "news": "event",
    "enter": "on_headers, begin",
    "take": "on_body, read, pop",
    "go_on": "spawn, resume",
    "let_go": "close",
    "bury": "cleanup",
    "tell": "notify, log",
    "heard": "received",
    "hear": "on_event",
    "sweep": "cleanup, reap",
    "offer": "register",
    "verdict": "result",
    "behind": "queued",
    "overdue": "start_deadline_passed",
    "course": "outcome",
    "envelope": "response_tuple",
    "opened": "parsed",
    "jsonable": "json_encoding",
    "richness": "representations",
    "trust": "certificate",
    "tied": "parent_watch",
}
"""Identifiers, as a definition, a parameter, a variable or an attribute, with what takes their place."""

_TEST_NAME = re.compile(rf"test_({'|'.join(FUNCTION_WORDS)})_")
_WORDS = {re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE): term for pattern, term in WORDS.items()}


def complaints(path: Path) -> Iterator[str]:
    """Yield a line for each break of the rules in a Python file: place, what it is, the standard term."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            where = getattr(node, "lineno", 1)
            first = (ast.get_docstring(node) or "").split(maxsplit=1)[:1]
            if first and first[0].rstrip(",.:") in NOUN_CLAUSES:
                yield f"{path}:{where}: a docstring begins with {first[0]!r}: an imperative, or a noun phrase"
            if match := _TEST_NAME.match(getattr(node, "name", "")):
                yield f"{path}:{where}: the test name begins with {match[1]!r}: the subject, and what it does"
        for name in _defined(node):
            if not name.endswith("__") and (bare := name.strip("_").lower()) in NAMES:
                yield f"{path}:{getattr(node, 'lineno', 1)}: the name {name!r}: {NAMES[bare]}"
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, term in _WORDS.items():
            if match := pattern.search(line):
                yield f"{path}:{number}: {match[0]!r}: {term}"


def _defined(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Attribute(attr=name, ctx=ast.Store()):
            yield name
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name


def main(arguments: list[str]) -> int:
    """Print the complaints about files below the paths, and their number."""
    files = [file for place in arguments or ["owt"] for file in _python_files(Path(place))]
    lines = [line for file in files for line in complaints(file)]
    print("\n".join(lines))
    print(f"{len(lines)} complaints in {len(files)} files", file=sys.stderr)
    return 1 if lines else 0


def _python_files(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
