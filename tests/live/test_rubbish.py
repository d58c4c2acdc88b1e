"""Malformed fields, headers, bodies and connections get an answer, without a server fault or a hang."""

import contextlib
import http.client
import re
import socket
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from owt.testing import LiveServer

TIMEOUT = 20
"""Seconds after which a call counts as hung."""

FIELDS = [
    "code", "code_b64", "kwargs", "kwargs_b64", "adaptor", "fn_name", "session", "kernel", "use_cache",
    "cache_kwargs", "cache_key_override", "timeout", "reload", "stream", "display", "unknown",
]
CODE = {name: {} if name in ("code", "code_b64", "adaptor") else {"code": b"'ran'"} for name in FIELDS}
"""Other fields that a request needs for the field to have an effect."""

RUBBISH = [
    b"", b" ", b"\0", b"\t\r\n", b"\r\nX-Injected: yes", b"\xff\xfe", b"\xed\xa0\x80", "ü💥".encode(),
    b"null", b"-1", b"0", b"1e999", b"NaN", b"9" * 5000, b"true", b"[]", b"{}", b"{", b'"', b"'", b"\\",
    b"../../etc/passwd", b"<script>alert(1)</script>", b"'; DROP TABLE runs; --", b"${x}{{x}}%s%n",
    b"A" * 200_000, b"(" * 50_000, b"[" * 50_000, b"%", b"%zz", b"a=b&c=d", b"__import__('os')", b"exit()",
]

DOCUMENTS = [
    "null", "true", "-1", "1e400", "123456789012345678901234567890", '""', '"\\u0000"', '"\\ud800"', "[]",
    "{}", "[[[[1]]]]", '{"a":{"b":{"c":1}}}', '{"":0}', "[" * 400 + "]" * 400, '"' + "x" * 100_000 + '"',
]

HEADERS = [
    b"", b" ", b"\xff", b";", b",", b"=", b"a/b;q=x", b"*/*;q=-1, text/html;q=9e9", b"x" * 10_000, b"/",
    b"*", b"text/", b"/html", b'"', b"text/html;" * 500, b"\tx\t", b"text/event-stream;;;=", b"bytes=9-0",
    b"multipart/form-data", b"multipart/form-data; boundary=", b"application/json;charset=\xff",
    b"multipart/form-data; boundary=" + b"b" * 5000, b"text/x-python; charset=utf-16", b"a/b, " * 1000,
    b"a=b; a=\xff; ;=;",
]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Start a server for this file; its log is checked for faults after each test."""
    with LiveServer("-v", "--pool-max", "2", "--max-sessions", "50") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_fault(server: LiveServer, client: httpx.Client) -> Iterator[None]:
    """Check after each test that the server takes calls and has logged no fault."""
    yield
    assert client.get("/", params={"code": "'well'"}).text == "well"
    assert re.findall(r"^.* [EC] .*$|^Traceback.*$", server.log(), re.MULTILINE) == []


def ask(
    server: LiveServer, target: str, method: str = "GET", body: bytes = b"", **headers: bytes
) -> httpx.Response:
    """Send a request that no client library would send, and return its response."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: localhost", b"Content-Length: %d" % len(body)]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
        connection.sendall(b"\r\n".join([*lines, b"", body]))
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())


def check(answer: httpx.Response, sent: object, *, may_raise: bool = False) -> None:
    """Check that the response is a success or a client error; malformed code may also raise."""
    seen = answer.status_code, answer.text[:300], sent
    assert "x-injected" not in answer.headers, seen
    if answer.status_code >= 500:
        # The adaptor raised, or the timeout was very short.
        assert may_raise or answer.status_code == 504, seen
        assert answer.status_code in (500, 504), seen
        assert "owt-run" in answer.headers, seen
    else:
        assert answer.status_code in (200, 400, 404), seen
    if answer.status_code == 400:
        assert len(answer.content) < 5000, seen


class TestFields:
    @pytest.mark.parametrize("field", FIELDS)
    def test_malformed_query_field_is_refused_or_answered(self, server: LiveServer, field: str) -> None:
        for value in RUBBISH:
            pairs = {**CODE[field], field: value}
            query = "&".join(f"{name}={quote(text, safe='')}" for name, text in pairs.items())
            check(ask(server, f"/rubbish?{query}"), value[:40], may_raise=field == "code")

    @pytest.mark.parametrize("field", FIELDS)
    def test_malformed_form_field_is_refused_or_answered(self, client: httpx.Client, field: str) -> None:
        for value in RUBBISH:
            answer = client.post("/", data={**CODE[field], field: value})
            check(answer, value[:40], may_raise=field == "code")

    @pytest.mark.parametrize("field", FIELDS)
    def test_malformed_multipart_field_is_refused_or_answered(self, client: httpx.Client, field: str) -> None:
        for value in RUBBISH:
            pairs = {**CODE[field], field: value}
            answer = client.post("/", files={name: (None, text) for name, text in pairs.items()})
            check(answer, value[:40], may_raise=field == "code")

    @pytest.mark.parametrize("field", FIELDS)
    def test_malformed_json_field_is_refused_or_answered(self, client: httpx.Client, field: str) -> None:
        before = '"code": "\'ran\'", ' if CODE[field] else ""
        for document in DOCUMENTS:
            body = f'{{{before}"{field}": {document}}}'
            answer = client.post("/", content=body, headers={"Content-Type": "application/json"})
            check(answer, body[:60], may_raise=field == "code")

    @pytest.mark.parametrize("field", FIELDS)
    def test_repeated_field_is_refused_or_answered(
        self, server: LiveServer, client: httpx.Client, field: str
    ) -> None:
        pairs = f"{field}=a&{field}=&{field}=b&{field}&={field}&&"
        check(ask(server, f"/?{pairs}"), pairs, may_raise=True)
        check(client.post("/", data={field: ["a", "b"]}), field, may_raise=True)

    def test_malformed_field_names_are_ignored_or_refused(
        self, server: LiveServer, client: httpx.Client
    ) -> None:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for name in RUBBISH:
            text = quote(name, safe="")
            check(ask(server, f"/?{text}={text}&code=1"), name[:40])
            check(client.post("/", content=f"code=1&{text}={text}", headers=form), name[:40])


class TestHeaders:
    @pytest.mark.parametrize(
        "name", ["Accept", "Content_Type", "Owt_Session", "Cookie", "Accept_Encoding", "Range", "X"]
    )
    @pytest.mark.parametrize("code", ["'ran'", "1/0"])
    def test_malformed_header_of_a_call_causes_no_server_error(
        self, server: LiveServer, name: str, code: str
    ) -> None:
        for value in HEADERS:
            for method, body in (("GET", b""), ("POST", b"some body")):
                answer = ask(server, f"/?code={quote(code)}", method, body, **{name: value})
                check(answer, (name, value[:60]), may_raise=code == "1/0")

    @pytest.mark.parametrize("name", ["Origin", "Sec_Fetch_Site"])
    def test_malformed_origin_header_is_refused(self, server: LiveServer, name: str) -> None:
        for value in HEADERS:
            answer = ask(server, f"/?code={quote('1/0')}", **{name: value})
            assert answer.status_code == 403, value[:60]
            assert len(answer.content) < 1000, value[:60]

    def test_malformed_accept_header_of_a_rich_value_causes_no_server_error(self, server: LiveServer) -> None:
        code = "class Rich:\n    def _repr_html_(self): return '<b>'\ndef run(): return Rich()"
        for value in HEADERS:
            check(ask(server, f"/?code={quote(code)}", Accept=value), value[:60])

    @pytest.mark.parametrize("name", ["Content_Type", "Cookie", "Accept", "Range", "Host"])
    def test_malformed_header_read_by_the_adaptor_causes_no_server_error(
        self, server: LiveServer, name: str
    ) -> None:
        code = (
            "from werkzeug.exceptions import HTTPException\n"
            "def run():\n"
            "    for name in 'args form files headers data cookies accept_mimetypes range url'.split():\n"
            "        try:\n            yield str(getattr(request, name))[:9]\n"
            "        except HTTPException as error:\n            yield error.code\n"
        )
        for value in HEADERS:
            answer = ask(server, f"/?code={quote(code)}", "POST", b"\xff=%", **{name: value})
            check(answer, (name, value[:60]))


class TestBodies:
    TYPES = (
        "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b",
        "text/x-python", "application/octet-stream", "text/plain", "",
    )
    BODIES = (
        *RUBBISH, b"--b", b"--b--", b"--b\r\n\r\n--b--", b"--b\r\n" * 5000, b"&" * 9999, b"=&" * 9999,
        b'--b\r\nContent-Disposition: form-data; name="code"\r\n\r\n1',
        b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="code"; filename="\xff"\r\n\r\n\xff\r\n--b--\r\n',
        b"&" * 20_000, b'{"code":' * 50_000, b'{"code": "1", "code": 2}', b'[{"code": "1"}]', b'"code"',
        b"\xef\xbb\xbf{}", b'{"code": "1"}{}', bytes(range(256)), b"code=1&" + bytes(range(256)),
    )

    @pytest.mark.parametrize("kind", TYPES)
    def test_malformed_body_of_any_content_type_is_refused_or_answered(
        self, client: httpx.Client, kind: str
    ) -> None:
        for body in self.BODIES:
            answer = client.post("/", content=body, headers={"Content-Type": kind})
            check(answer, body[:60], may_raise=True)

    @pytest.mark.parametrize("kind", TYPES)
    def test_malformed_body_beside_code_in_the_query_is_refused_or_answered(
        self, client: httpx.Client, kind: str
    ) -> None:
        for body in self.BODIES:
            answer = client.post("/?code='ran'", content=body, headers={"Content-Type": kind})
            check(answer, body[:60], may_raise=True)

    def test_malformed_body_of_the_control_api_is_refused(self, client: httpx.Client) -> None:
        for body in (*RUBBISH, *(document.encode() for document in DOCUMENTS)):
            for wrapped in (body, b'{"kernel": ' + body + b"}", b'{"concurrency": ' + body + b"}"):
                answer = client.put("/_owt/sessions/rubbish-put", content=wrapped)
                assert answer.status_code in (200, 201, 400), (answer.text, wrapped[:60])
        client.delete("/_owt/sessions/rubbish-put")

    def test_malformed_path_of_the_control_api_causes_no_server_error(self, server: LiveServer) -> None:
        for value in RUBBISH:
            name = quote(value, safe="")
            for path in (f"/_owt/{name}", f"/_owt/sessions/{name}", f"/_owt/runs/{name}"):
                for method in ("GET", "PUT", "DELETE", "POST"):
                    answer = ask(server, path, method)
                    assert answer.status_code < 500, (method, path[:60], answer.text)


KWARGS = [
    "1/0", "undefined", "undefined.attribute", "{}['key']", "[][0]", "int('x')", "open('/no/such/file')",
    "exit()", "quit()", "exit", "__import__('sys').exit(3)", "__import__('sys').exit", "print", "...",
    "(", ")", "'", '"""', "\\", "#", "# comment", "1 +", "a b", "a = 1", "def f(): pass", "import os", "pass",
    "yield 1", "await x", "return 1", "raise ValueError", "lambda", "x if y", "*a", "**a", "(x := 5)", "{,}",
    "(" * 50_000, "[" * 50_000 + "]" * 50_000, "{'a':" * 500 + "1" + "}" * 500, "-" * 50_000 + "1",
    "1" + "+1" * 50_000, "a" + ".b" * 50_000, "f" + "()" * 50_000, "not " * 50_000 + "1", "9" * 50_000,
    '{"a":' * 20_000 + "1" + "}" * 20_000, '"' * 3, "'\\ud800'", "'\\N{no such}'", "b'\\xff'", "0777", "1_",
    "{1: 2}", "{'a': 1, 2: 3}", "{**{1: 2}}", "{None: 1}", "{(): 1}", "{'': 1}", "{'self': 1}", "{'a b': 1}",
    "(lambda f: f(f))(lambda f: f(f))", "[0] * 10**15", "10**15 * 'a'", "str(10**5000)", "''.join([1])",
    "type('M', (dict,), {'keys': lambda s: 1/0})()", "type('E', (), {'__repr__': lambda s: 1/0})()",
    "(_ for _ in ()).throw(type('B', (Exception,), {'__str__': lambda s: 1/0}))", "nan", "None", "True",
    "'1/0'", "'exit()'", "'undefined'", "\"'1'\"", "{'a': {'b': [1, (2, {3})]}}", "range(10)", "iter(())",
    "(i for i in range(3))", "NotImplemented", "\ufeff1", "\u2028", "\u00aa", "\x0c1", "1;2", "1\n2",
    "\n\n1\n\n", "  1", "\t1",
]


class TestKwargs:
    """The kernel evaluates kwargs; it must respond and stay alive."""

    @pytest.mark.parametrize(
        "code", ["def run(**kwargs): return 'ran'", "def run(x=None): return 'ran'", "z = 1\n'ran'"]
    )
    def test_malformed_kwargs_of_a_function_or_a_cell_leave_the_kernel_alive(
        self, client: httpx.Client, code: str
    ) -> None:
        pid = client.post("/", data={"code": "import os\nos.getpid()", "session": "kwargs"}).text
        for text in KWARGS:
            answer = client.post("/", data={"code": code, "kwargs": text, "session": "kwargs"})
            check(answer, text[:60])
            assert answer.status_code == 400 or answer.text == "ran", (answer.text, text[:60])
        assert client.post("/", data={"code": "os.getpid()", "session": "kwargs"}).text == pid

    def test_malformed_kwargs_of_a_pipe_are_refused_or_answered(self, client: httpx.Client) -> None:
        for text in KWARGS:
            check(client.post("/", data={"code": "pipe().const('ran').done()", "kwargs": text}), text[:60])


CODES = [
    *KWARGS,
    "\n".join(" " * n + "if 1:" for n in range(150)), "lambda: " * 5000 + "1", "if 1:\n", "\tx\n  y",
    "%", "!", "?", "%nosuch", "%%nosuch\nx", "!exit 3", "!!", "??", "print?", "\n", "\r", "\r\n\r\n",
    "# only a comment", "\\\n", "class run: pass", "run = 1", "def run(a, a): pass", "run", "del run",
    "global x", "nonlocal x",
    "async", "await", "from . import x", "import no.such.module", "from os import nothing", "return 1",
    "def run(): yield from 1", "def run(): return run", "def run(): return type", "def run(): return iter",
    "def run(): return lambda: 1", "def run(): return __builtins__", "def run(): return request",
    "def run(): return state", "def run(): return pipe", "def run(): return Server", "def run(): return ...",
    "def run(): return 1j", "def run(): return object", "def run(): return (yield)", "def run(*, a): pass",
    "async def run(): return run()", "async def run(): await 1", "import builtins\nprint = 1\nprint",
    "x = 1\nexit()", "raise SystemExit(3)", "raise KeyboardInterrupt", "assert 0", "raise Exception from 1",
    "import sys\nout, sys.stdout = sys.stdout, None\nprint(1)\nsys.stdout = out",
]


class TestCode:
    def test_malformed_code_gets_a_plain_answer(self, client: httpx.Client) -> None:
        for text in CODES:
            check(client.post("/", data={"code": text, "session": "code"}), text[:60], may_raise=True)

    def test_malformed_code_gets_an_event_stream_that_ends_with_done(self, client: httpx.Client) -> None:
        for text in CODES:
            answer = client.post("/", data={"code": text, "session": "events", "stream": "sse"})
            check(answer, text[:60])
            if answer.status_code == 200:
                assert answer.text.rpartition("event: ")[2].startswith("done\n"), text[:60]
                assert '"status":502' not in answer.text, text[:60]


HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /" + HOST

CONNECTIONS = [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"get / http/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /\xff\xfe?code=\xff" + HOST + b"\r\n", b"GET /%ff%fe?code=%ff" + HOST + b"\r\n",
    b"GET http://other/?code=1" + HOST + b"\r\n", b"GET *" + HOST + b"\r\n", b"GET ?code=1" + HOST + b"\r\n",
    b"GET /?code=1 HTTP/1.1\r\nHost: \xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a, b\r\nHost: c\r\n\r\n",
    b"GET /?code=1" + HOST + b"NoColon\r\n\r\n", b"GET /" + HOST + b": empty\r\n\r\n",
    b"GET /?code=1" + HOST + b"A: \0\r\n\r\n", b"BREW /" + HOST + b"\r\n", b"CONNECT x:1" + HOST + b"\r\n",
    POST + b"Content-Length: -1\r\n\r\n", POST + b"Content-Length: x\r\n\r\n",
    POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    POST + b"Transfer-Encoding: nonsense\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"GET /?code=1" + HOST + b"A: b\r\n" * 5000 + b"\r\n",
    b"GET /?code=1" + HOST + b"A: " + b"b" * 1_500_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 1_500_000 + HOST + b"\r\n",
    b"GET /_owt/sessions/\xff" + HOST + b"\r\n", b"GET /_owt/../?code=1" + HOST + b"\r\n",
]


class TestConnections:
    @pytest.mark.parametrize("sent", CONNECTIONS, ids=range(len(CONNECTIONS)))
    def test_connection_without_valid_http_gets_an_error_status_or_is_closed(
        self, server: LiveServer, sent: bytes
    ) -> None:
        received = b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    received += piece
        assert re.match(rb"HTTP/1\.[01] [234]\d\d |$", received), received[:200]

    def test_connection_that_ends_inside_a_request_is_closed(self, server: LiveServer) -> None:
        whole = b"POST /?code=1" + HOST + b"Content-Length: 10\r\n\r\n0123456789"
        for length in range(1, len(whole), 7):
            with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as connection:
                connection.sendall(whole[:length])
