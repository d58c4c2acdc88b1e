"""Links between the project's pages, and the paths that pages name, lead to existing files and headings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pages import DOCS, PAGES, PROSE, ROOT, name, prose

FOLDERS = ("owt", "tests", "docs", "examples", "notebooks", "benchmarks", "kernels")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings' as GitHub and the generator make them, and its own."""
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r"^\((\S+)\)=$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_of_the_repository_exist(page):
    paths = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", prose(page))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_navigation():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^((?:\w|-|/)+)$", index, re.MULTILINE))
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    assert pages - {"index"} == listed


def definitions(file: Path) -> set[str]:
    """Return the names of a module's classes and functions, and of the methods as `Class.method`."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name, body=body):
                methods = [
                    item.name for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
                ]
                names |= {name, *(f"{name}.{method}" for method in methods)}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
    return names


def test_the_steps_of_a_call_are_in_the_files_that_the_page_names():
    page = DOCS / "explanation" / "way-of-a-call.md"
    steps = re.findall(r"^\| \d+ \| (.+?) \| (.+?) \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(steps) > 20
    for files, functions in steps:
        names = set().union(*(definitions(ROOT / file) for file in re.findall(r"`(.+?)`", files)))
        assert set(re.findall(r"`(.+?)`", functions)) <= names, files
