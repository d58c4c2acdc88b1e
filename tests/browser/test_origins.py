"""Requests of web pages in a real browser: own pages, pages of other origins, and allowed ones."""

import base64
import json
import threading
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from selenium import webdriver

from owt.testing import LiveServer, wait_until

OWT_JS = Path(__file__).parents[2] / "examples" / "clients" / "owt.js"


class Site:
    """Web server other than owt, with the page that the test sets. /to?URL redirects to URL."""

    def __init__(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                self.send_response(302 if path == "/to" else 200)
                if path == "/to":
                    self.send_header("Location", parse_qs(query)["url"][0])
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(site.page.encode() if path == "/" else b"")

            def log_message(self, *_: object) -> None:
                pass

        self.page = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Site":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def other_site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def friend() -> Iterator[Site]:
    """Site of the allowed origin."""
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def server(friend: Site) -> Iterator[LiveServer]:
    origin = f"http://localhost:{friend.port}"
    with LiveServer("-vv", "--allow-origin", origin, "--allow-host", "owt.example") as server:
        yield server


class Call:
    """Call that leaves a mark when it runs, with a path of its own for the log."""

    def __init__(self, server: LiveServer, folder: Path, name: str) -> None:
        self._server = server
        self._mark = folder / "mark"
        self._mark.touch()
        self.path = f"/{folder.name}/{name}"
        self.code = f"open({str(self._mark)!r}, 'a').write('x')"
        self.url = f"{server.url}{self.path}?code={quote(self.code)}"

    @property
    def ran(self) -> bool:
        return self._mark.stat().st_size > 0

    def refused(self, method: str) -> None:
        """Wait until the server has refused the call, and check that it did not run."""
        self._server.wait_for_log(f"{method} {self.path} 403")
        assert not self.ran


@pytest.fixture
def call(server: LiveServer, tmp_path: Path, request: pytest.FixtureRequest) -> Call:
    return Call(server, tmp_path, "call")


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    yield chromium
    # Closes the windows that a page has opened, and ends its scripts.
    first, *others = chromium.window_handles
    for other in others:
        chromium.switch_to.window(other)
        chromium.close()
    chromium.switch_to.window(first)
    chromium.get("about:blank")


def form(rest: str) -> str:
    fields = "<input name=code value='@CODE@'>"
    return f"<form id=f action='@URL@' {rest}>{fields}</form><script>f.submit()</script>"


def script(text: str) -> str:
    return f"<script>{text}</script>"


def click(rest: str = "") -> str:
    return f"<a id=a href='@URL@' {rest}>click</a><script>a.click()</script>"


# Attempts of a page to call: @URL@ is the address of the call, @CODE@ its code, @JS@ the address in a script.
BY_GET = {
    "img": "<img src='@URL@'>",
    "img-unreferred": "<img src='@URL@' referrerpolicy=no-referrer>",
    "script": "<script src='@URL@'></script>",
    "style": "<link rel=stylesheet href='@URL@'>",
    "video": "<video src='@URL@' preload=auto></video>",
    "frame": "<iframe src='@URL@'></iframe>",
    "object": "<object data='@URL@'></object>",
    "link": click(),
    "link-unreferred": click("rel=noreferrer"),
    "link-new-tab": click("target=_blank"),
    "refresh": "<meta http-equiv=refresh content='0;url=@URL@'>",
    "location": script("location.href = @JS@"),
    "open": script("window.open(@JS@)"),
    "form": form(""),
    "fetch": script("fetch(@JS@)"),
    "fetch-opaque": script("fetch(@JS@, { mode: 'no-cors', credentials: 'include' })"),
    "event-source": script("new EventSource(@JS@)"),
    "web-socket": script("new WebSocket(@JS@.replace('http', 'ws'))"),
    "worker": script("new Worker(URL.createObjectURL(new Blob(['fetch(' + JSON.stringify(@JS@) + ')'])))"),
}
BY_POST = {
    "form": form("method=post"),
    "form-text": form("method=post enctype=text/plain"),
    "form-multipart": form("method=post enctype=multipart/form-data"),
    "form-new-tab": form("method=post target=_blank"),
    "fetch-text": script("fetch(@JS@, { method: 'POST', body: 'text' })"),
    "fetch-form": script("fetch(@JS@, { method: 'POST', body: new URLSearchParams({ a: 1 }) })"),
    "fetch-opaque": script("fetch(@JS@, { method: 'POST', mode: 'no-cors', body: 'text' })"),
    "beacon": script("navigator.sendBeacon(@JS@, 'text')"),
}
JSON_TYPE = "{ 'Content-Type': 'application/json' }"
ASKING_FIRST = {
    "json": script(f"fetch(@JS@, {{ method: 'POST', headers: {JSON_TYPE}, body: '{{}}' }})"),
    "header": script("fetch(@JS@, { headers: { Authorization: 'Basic YTpi' } })"),
}
ATTEMPTS = [
    *(pytest.param("GET", page, id=f"get-{name}") for name, page in BY_GET.items()),
    *(pytest.param("POST", page, id=f"post-{name}") for name, page in BY_POST.items()),
    *(pytest.param("OPTIONS", page, id=f"asking-{name}") for name, page in ASKING_FIRST.items()),
]
PLACES = ["127.0.0.1", "localhost"]
"""Hosts of the other page, for a server at 127.0.0.1: the same site, and another site."""


def filled(page: str, call: Call) -> str:
    marks = {"@URL@": escape(call.url), "@CODE@": escape(call.code), "@JS@": json.dumps(call.url)}
    for mark, text in marks.items():
        page = page.replace(mark, text)
    return f"<!doctype html><title>page</title><body>{page}"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("method", "page"), ATTEMPTS)
def test_a_page_of_another_origin_runs_nothing(browser, other_site, call, method, page, place):
    other_site.page = filled(page, call)
    browser.get(f"http://{place}:{other_site.port}/")
    call.refused(method)


@pytest.mark.parametrize(("method", "page"), ATTEMPTS)
def test_the_servers_own_page_runs_the_call(browser, server, call, method, page):
    own = f"def run(): return {filled(page, call)!r}"
    browser.get(f"{server.url}/own?code={quote(own)}")
    wait_until(lambda: call.ran)


def test_a_typed_address_runs_the_call(browser, call):
    browser.get(call.url)
    assert call.ran


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("page", [BY_GET["img"], BY_GET["link"], BY_GET["fetch"], BY_GET["frame"]])
def test_a_redirect_through_the_pages_own_site_runs_nothing(browser, other_site, call, page, place):
    through = f"http://{place}:{other_site.port}/to?url={quote(call.url, safe='')}"
    other_site.page = filled(page.replace("@URL@", through).replace("@JS@", json.dumps(through)), call)
    browser.get(f"http://{place}:{other_site.port}/")
    call.refused("GET")


@pytest.mark.parametrize("page", [BY_GET["img"], BY_GET["fetch"], BY_GET["link"], BY_POST["form"]])
def test_a_sandboxed_frame_runs_nothing(browser, server, call, page):
    inner = escape(filled(page, call), quote=True)
    own = f"""def run(): return '<iframe sandbox="allow-scripts allow-forms" srcdoc="' + {inner!r} + '">'"""
    browser.get(f"{server.url}/own?code={quote(own)}")
    call.refused("POST" if page == BY_POST["form"] else "GET")


@pytest.mark.parametrize("page", [BY_GET["link"], BY_GET["fetch"], BY_POST["form"]])
def test_a_local_file_runs_nothing(browser, call, tmp_path, page):
    file = tmp_path / "page.html"
    file.write_text(filled(page, call))
    browser.get(file.as_uri())
    call.refused("POST" if page == BY_POST["form"] else "GET")


def test_a_refused_link_shows_the_reason_to_the_visitor(browser, other_site, call):
    other_site.page = filled(BY_GET["link"], call)
    browser.get(f"http://localhost:{other_site.port}/")
    wait_until(lambda: "a page of another origin sent this request" in browser.page_source)
    assert "enter the address in the browser's address bar" in browser.page_source


@pytest.mark.parametrize("path", ["/_owt/sessions", "/_owt/runs", "/_owt/health"])
def test_a_page_of_another_origin_cannot_read_the_servers_pages(browser, other_site, server, path):
    other_site.page = ""
    browser.get(f"http://localhost:{other_site.port}/")
    read = """
        const [url, tell] = arguments;
        fetch(url).then((answer) => tell(answer.status), (error) => tell(error.name));
    """
    assert browser.execute_async_script(read, server.url + path) == "TypeError"
    browser.get(server.url)
    assert browser.execute_async_script(read, server.url + path) == 200


class TestAllowedOrigin:
    @pytest.fixture
    def page(self, browser: webdriver.Chrome, friend: Site) -> webdriver.Chrome:
        """Open an empty page of the allowed origin."""
        friend.page = ""
        browser.get(f"http://localhost:{friend.port}/")
        return browser

    def test_fetch_reads_answers_and_their_headers(self, page, server):
        read = """
            const [url, tell] = arguments;
            fetch(url).then(async (answer) =>
              tell([answer.status, await answer.text(), answer.headers.has("Owt-Run")]));
        """
        assert page.execute_async_script(read, f"{server.url}/?code=6*7") == [200, "42", True]
        status, text, has_run = page.execute_async_script(read, f"{server.url}/?code=1/0")
        assert (status, has_run) == (500, True)
        assert "ZeroDivisionError" in text

    def test_fetch_posts_json(self, page, server):
        post = """
            const [url, tell] = arguments;
            const headers = { "Content-Type": "application/json", "Owt-Session": "friend" };
            const body = JSON.stringify({ code: "def run(n): return 6 * n", kwargs: { n: 7 } });
            fetch(url, { method: "POST", credentials: "include", headers, body })
              .then(async (answer) => tell(await answer.text() + answer.headers.get("Owt-Session")));
        """
        assert page.execute_async_script(post, f"{server.url}/post") == "42friend"
        assert "OPTIONS /post 204" in server.log()

    def test_event_source_gets_events(self, page, server):
        follow = """
            const [url, tell] = arguments;
            const events = [], source = new EventSource(url, { withCredentials: true });
            source.onmessage = ({ data }) => events.push(data);
            source.addEventListener("done", () => { source.close(); tell(events); });
        """
        code = quote("(n for n in 'abc')")
        assert page.execute_async_script(follow, f"{server.url}/?code={code}") == ["a", "b", "c"]

    def test_owt_js_calls_and_manages(self, page, server):
        drive = """
            const [owt, url, tell] = arguments;
            import(owt).then(async ({ Client }) => {
              const client = new Client(url, { session: "driven" });
              const results = [await client.call("6 * 7")];
              for await (const event of client.stream("(n for n in 'ab')")) results.push(event.data);
              await client.call("1 / 0").catch((error) => results.push(error.status));
              const gone = await fetch(`${url}/_owt/sessions/driven`, { method: "DELETE" });
              tell([...results.map(String), gone.status]);
            }).catch((error) => tell(String(error.stack)));
        """
        owt = f"data:text/javascript;base64,{base64.b64encode(OWT_JS.read_bytes()).decode()}"
        results = page.execute_async_script(drive, owt, server.url)
        assert results[:3] == ["42", "a", "b"]
        assert results[-2:] == ["500", 200]

    def test_links_and_images_of_an_allowed_origin_are_refused(self, browser, friend, call):
        friend.page = filled(BY_GET["img"] + BY_GET["link"], call)
        browser.get(f"http://localhost:{friend.port}/")
        call.refused("GET")

    def test_another_host_of_an_allowed_origin_is_refused(self, browser, friend, call):
        friend.page = filled(BY_GET["fetch"], call)
        browser.get(f"http://127.0.0.1:{friend.port}/")
        call.refused("GET")


def test_dns_rebinding_runs_nothing(misled, server, call):
    rebound = call.url.replace("127.0.0.1", "evil.example")
    misled.get(rebound)
    assert "unknown host" in misled.page_source
    # For the browser, the page and the server now have the same origin.
    post = "fetch(arguments[0], { method: 'POST' }).then((answer) => arguments[1](answer.status))"
    assert misled.execute_async_script(post, urlsplit(rebound)._replace(scheme="").geturl()) == 403
    assert not call.ran


@pytest.mark.parametrize("way", ["img-unreferred", "link-unreferred", "fetch-opaque"])
def test_a_request_of_unknown_origin_runs_nothing(misled, other_site, call, way):
    # Like any address of another machine without TLS.
    call.url = call.url.replace("127.0.0.1", "owt.example")
    other_site.page = filled(BY_GET[way], call)
    misled.get(f"http://evil.example:{other_site.port}/")
    call.refused("GET")


def test_a_refused_request_of_unknown_origin_shows_the_reason(misled, call):
    call.url = call.url.replace("127.0.0.1", "owt.example")
    misled.get(call.url)
    assert "the browser does not state which page sent this request" in misled.page_source
    assert not call.ran
