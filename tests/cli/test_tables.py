"""owt.cli.tables: sessions and endpoints as text."""

from __future__ import annotations

import time

import pytest

from owt.cli import tables


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("current_run", None, "-"),
        ("queue", 0, "0"),
        ("memory", 14 * 2**20 + 2**19, "14.5 MiB"),
        ("memory", 512, "512 B"),
        ("memory", 3 * 2**30, "3.0 GiB"),
        ("started", 0, "1970-01-01 00:00:00"),
        ("started", 1_700_000_000.5, "2023-11-14 22:13:20"),
        ("last_used", "2026-01-02T03:04:05+01:00", "2026-01-02 02:04:05"),
        ("last_used", "yesterday", "yesterday"),
        ("restarted", None, "-"),
        ("busy", True, "yes"),
        ("kept", 600.0, "600 s"),
        ("runs", ["a", "b"], "a, b"),
        ("runs", [], "-"),
        ("options", {"concurrency": 2}, "concurrency=2"),
    ],
)
def test_cell_formats_a_fact(key, value, text):
    assert tables.cell(key, value) == text


def test_table_of_sessions_has_sessions_and_then_the_pool():
    answer = {
        "sessions": [{"name": "mine", "state": "idle", "pid": 7}],
        "pool": [{"state": "busy", "pid": 8}],
    }
    _, *lines = tables.sessions(answer).splitlines()
    rows = [line.split() for line in lines]
    assert [(row[0], row[1], row[3]) for row in rows] == [("mine", "idle", "7"), ("(pool)", "busy", "8")]


def test_columns_are_aligned():
    assert tables.columns(["A", "LONG"], [["wide", "x"], ["y", ""]]) == "A     LONG\nwide  x\ny\n"


def test_facts_are_aligned():
    assert tables.facts({"name": "mine", "last_used": 0}) == (
        "name       mine\nlast used  1970-01-01 00:00:00\n"
    )
