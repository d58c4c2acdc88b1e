"""The reference lists everything that the server has, and nothing else."""

from __future__ import annotations

import re

from pages import DOCS, ROOT

from owt.wire.call import FIELDS


def test_every_field_of_a_request_is_documented():
    text = (DOCS / "reference" / "request-fields.md").read_text(encoding="utf-8")
    names = " ".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", names)) == FIELDS


def test_every_metric_is_documented(server):
    text = (DOCS / "how-to" / "metrics.md").read_text(encoding="utf-8")
    exposed = re.findall(r"^# TYPE (owt_\w+)", server.ask("GET", "/_owt/metrics").text, re.MULTILINE)
    assert set(re.findall(r"owt_\w+", text)) == set(exposed)


def test_every_page_of_the_server_is_documented(server):
    text = (DOCS / "reference" / "rest-api.md").read_text(encoding="utf-8")
    answer = server.ask("GET", "/_owt/", headers={"Accept": "application/json"})
    assert [link for link in answer.json()["links"] if f"{link}`" not in text] == []


def test_every_type_of_a_problem_is_documented():
    text = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "owt").rglob("*.py"))
    types = set(re.findall(r"\"urn:owt:([a-z-]+)\"", source))
    types |= set(re.findall(r"Failed\(\s*\d+,\s*\"([a-z-]+)\"", source))
    assert len(types) > 10
    assert [type for type in sorted(types) if f"`{type}`" not in text] == []
