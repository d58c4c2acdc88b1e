"""The reference lists everything that the server has, and nothing else."""

from __future__ import annotations

import re

from pages import DOCS

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
