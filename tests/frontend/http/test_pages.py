"""owt.frontend.http.pages: the HTML pages."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from owt.frontend.http import pages


class Page(HTMLParser):
    """Links and text of an HTML page."""

    VOID = frozenset({"meta", "br", "link"})
    UNCLOSED = frozenset({"html"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.append(dict(attrs)["href"] or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


PAGES = [pages.welcome("http://localhost:9876"), pages.page("title", "<p>text</p>", "")]


@pytest.mark.parametrize("text", PAGES)
def test_a_page_is_complete_html_without_foreign_resources(text: str) -> None:
    assert text.startswith("<!doctype html>")
    page = Page(text)
    assert page.open == []
    # The page loads nothing from other servers.
    assert re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text) is None


def test_the_welcome_page_shows_how_to_call_this_server() -> None:
    page = Page(pages.welcome("http://example.org:1234"))
    assert "curl -G http://example.org:1234/hello" in page.text
    assert 'code=def run(name): return f"Hello, {name}!"' in page.text


def test_the_link_of_the_welcome_page_makes_the_call_that_it_shows() -> None:
    link = Page(pages.welcome("http://localhost")).links[0]
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.path) == ("", "", "/hello")
    fields = parse_qs(parts.query)
    assert fields["code"] == ['def run(name): return f"Hello, {name}!"']
    assert fields["kwargs"] == ['{"name": "owt"}']


def test_the_icon_is_a_png_of_the_server_itself() -> None:
    assert '<link rel=icon href="/owt/favicon.ico">' in pages.page("title", "", "/owt")
    answer = pages.icon()
    assert (answer.status, dict(answer.headers)["Content-Type"]) == (200, "image/png")
    assert Image.open(BytesIO(answer.body)).size == (32, 32)


def test_a_box_with_too_long_lines_has_a_permanent_scroll_bar() -> None:
    text = pages.page("title", "", "")
    assert "overflow-x:auto" in text
    # A scroll bar with a style of its own does not disappear, as those of macOS and of touch screens do.
    assert "pre::-webkit-scrollbar{" in text


def test_links_and_commands_include_the_base_url() -> None:
    welcome = Page(pages.welcome("http://h:1", "/owt"))
    assert "curl -G http://h:1/owt/hello" in welcome.text
    assert "curl http://h:1/owt/ -d session" in welcome.text
    for link in welcome.links:
        assert link.startswith("/owt/")


def test_the_url_in_the_welcome_page_is_escaped() -> None:
    text = pages.welcome("http://<script>alert(1)</script>\"'")
    assert "<script" not in text
    assert "<script>alert(1)</script>" in unescape(text)
