"""Ways to carry a call in a request, and the errors of malformed requests."""

import base64
import contextlib
import http.client
import json
import re
import socket
import subprocess
from html import unescape
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent
from urllib.parse import quote

import httpx
import pytest

from owt.testing import LiveServer

ECHO = "def run(**kwargs): return kwargs"
HELLO = 'def run(name): return f"Hello, {name}!"'
FIELDS = {"code": HELLO, "kwargs": '{"name": "owt"}'}
PYTHON = {"Content-Type": "text/x-python"}


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=60, check=False)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class TestCarriers:
    @pytest.mark.parametrize(
        "path", ["/", "/a/b/c", "/b64/x", "/with%20space/%C3%BC", "/_owtish", "//", "/a/../b"]
    )
    def test_a_query_string_carries_a_call_on_any_path(self, http: httpx.Client, path: str) -> None:
        assert http.get(path, params=FIELDS).text == "Hello, owt!"

    def test_a_post_may_have_its_fields_in_the_query(self, http: httpx.Client) -> None:
        assert http.post("/", params=FIELDS).text == "Hello, owt!"

    def test_a_json_object_carries_a_call(self, http: httpx.Client) -> None:
        assert http.post("/", json=FIELDS).text == "Hello, owt!"

    def test_kwargs_of_a_json_body_may_be_json(self, http: httpx.Client) -> None:
        kwargs = {"text": 'a "quoted" ü', "list": [1, {"two": None}]}
        assert http.post("/", json={"code": ECHO, "kwargs": kwargs}).json() == kwargs

    def test_a_form_carries_a_call(self, http: httpx.Client) -> None:
        assert http.post("/", data=FIELDS).text == "Hello, owt!"

    def test_a_multipart_form_carries_a_call(self, http: httpx.Client) -> None:
        parts = {name: (None, text) for name, text in FIELDS.items()}
        answer = http.post("/", files=parts)
        assert answer.request.headers["content-type"].startswith("multipart/form-data")
        assert answer.text == "Hello, owt!"

    def test_the_body_wins_over_the_query(self, http: httpx.Client) -> None:
        assert http.post("/", params={"code": "'query'"}, data={"code": "'body'"}).text == "body"

    def test_fields_may_be_divided_between_query_and_body(self, http: httpx.Client) -> None:
        answer = http.post("/", params={"kwargs": FIELDS["kwargs"]}, data={"code": HELLO})
        assert answer.text == "Hello, owt!"

    def test_other_fields_are_left_to_the_adaptor(self, http: httpx.Client) -> None:
        code = "def run(): return [request.args.getlist('q'), request.form['own']]"
        assert http.post("/?q=1&q=2", data={"code": code, "own": "yes"}).json() == [["1", "2"], "yes"]

    def test_a_body_of_another_type_is_left_to_the_adaptor(self, http: httpx.Client) -> None:
        code = "def run(): return request.data.hex()"
        headers = {"Content-Type": "application/octet-stream"}
        assert http.post("/", params={"code": code}, content=b"\x00\xff", headers=headers).text == "00ff"

    def test_curl_uploads_files_beside_the_code(self, http: httpx.Client, tmp_path: Path) -> None:
        upload = tmp_path / "data.bin"
        upload.write_bytes(bytes(range(256)) * 10_000)
        code = (
            "import hashlib\n"
            "def run():\n"
            "    f = request.files['f']\n"
            "    return [f.filename, f.content_type, hashlib.sha256(f.read()).hexdigest()]\n"
        )
        done = curl(str(http.base_url), "-F", f"code={code}", "-F", f"f=@{upload};type=x/y")
        expected = subprocess.run(["sha256sum", upload], capture_output=True, text=True, check=True).stdout
        assert json.loads(done.stdout) == ["data.bin", "x/y", expected.split()[0]]

    def test_curl_sends_a_program_from_a_file_as_a_field(self, http: httpx.Client, tmp_path: Path) -> None:
        (tmp_path / "adaptor.py").write_text(HELLO)
        code, kwargs = f"code=<{tmp_path / 'adaptor.py'}", f"kwargs={FIELDS['kwargs']}"
        assert curl(str(http.base_url), "-F", code, "-F", kwargs).stdout == b"Hello, owt!"


class TestBase64:
    # In base64 it has all of "+", "/" and padding.
    CODE = "'>>>???ü'"

    @pytest.mark.parametrize(
        "encoded",
        [
            b64(CODE),
            base64.urlsafe_b64encode(CODE.encode()).decode(),
            b64(CODE).rstrip("="),
            base64.urlsafe_b64encode(CODE.encode()).decode().rstrip("="),
            b64(CODE).replace("+", " "),
            base64.encodebytes(CODE.encode()).decode(),
        ],
        ids=["standard", "url-safe", "no padding", "url-safe without padding", "plus as space", "line end"],
    )
    @pytest.mark.parametrize("carrier", ["query", "form", "json", "multipart"])
    def test_every_variant_of_base64_is_decoded(self, http: httpx.Client, encoded: str, carrier: str) -> None:
        match carrier:
            case "query":
                answer = http.get("/", params={"code_b64": encoded})
            case "form":
                answer = http.post("/", data={"code_b64": encoded})
            case "json":
                answer = http.post("/", json={"code_b64": encoded})
            case _:
                answer = http.post("/", files={"code_b64": (None, encoded)})
        assert (answer.status_code, answer.text) == (200, ">>>???ü")

    def test_an_unencoded_plus_in_base64_is_decoded(self, http: httpx.Client) -> None:
        assert b64(self.CODE) == "Jz4+Pj8/P8O8Jw=="
        assert http.get("/b64/?code_b64=Jz4+Pj8/P8O8Jw==").text == ">>>???ü"

    def test_kwargs_may_be_base64(self, http: httpx.Client) -> None:
        fields = {"code_b64": b64(HELLO), "kwargs_b64": b64('{"name": "b64"}')}
        assert http.get("/b64/", params=fields).text == "Hello, b64!"

    def test_a_plus_in_plain_text_is_a_space(self, http: httpx.Client) -> None:
        assert http.get("/?code='a+b'").text == "a b"
        assert http.get("/?code='a%2Bb'").text == "a+b"


class TestKwargs:
    @pytest.mark.parametrize(
        "kwargs",
        ['{"n": 42}', "{'n': 6 * 7}", "dict(n=42)", '"dict(n=42)"', "{'n': len('x' * 42)}", "{**{'n': 42}}"],
    )
    def test_json_and_expressions_for_a_mapping_are_keyword_arguments(
        self, http: httpx.Client, kwargs: str
    ) -> None:
        assert http.post("/", data={"code": ECHO, "kwargs": kwargs}).json() == {"n": 42}

    def test_an_expression_sees_the_sessions_names(self, http: httpx.Client, session: str) -> None:
        http.post("/", data={"code": "x = 42", "session": session})
        answer = http.post("/", data={"code": ECHO, "kwargs": "{'n': x}", "session": session})
        assert answer.json() == {"n": 42}

    @pytest.mark.parametrize("kwargs", ["[1, 2, 3]", '"(1, 2, 3)"', "range(1, 4)"])
    def test_kwargs_of_another_type_are_the_input_value_of_a_pipe(
        self, http: httpx.Client, kwargs: str
    ) -> None:
        answer = http.post("/", data={"code": "pipe().f(sum).done()", "kwargs": kwargs})
        assert answer.text == "6"


class TestPythonBodies:
    @pytest.mark.parametrize(
        "kind", ["text/x-python", "application/x-python", "text/x-python; charset=utf-8"]
    )
    def test_curl_sends_a_program_as_the_body_and_kwargs_in_the_query(
        self, http: httpx.Client, tmp_path: Path, kind: str
    ) -> None:
        adaptor = tmp_path / "adaptor.py"
        adaptor.write_text(HELLO + "\n# ü\n")
        url = f"{http.base_url}?name=owt"
        done = curl("--data-binary", f"@{adaptor}", "-H", f"Content-Type: {kind}", url)
        assert done.stdout == b"Hello, owt!"

    def test_query_parameters_of_a_python_body_are_string_kwargs(self, http: httpx.Client) -> None:
        answer = http.post("/?n=42&text=a+b&empty=&last=1&last=2", content=ECHO, headers=PYTHON)
        assert answer.json() == {"n": "42", "text": "a b", "empty": "", "last": "2"}

    def test_owts_fields_in_the_query_of_a_python_body_keep_their_meaning(
        self, http: httpx.Client, session: str
    ) -> None:
        code = "def other(**kwargs): return kwargs"
        answer = http.post(f"/?a=1&fn_name=other&session={session}", content=code, headers=PYTHON)
        assert answer.json() == {"a": "1"}
        assert answer.headers["owt-session"] == session

    def test_the_field_kwargs_in_the_query_of_a_python_body_is_used(self, http: httpx.Client) -> None:
        answer = http.post("/", params={"kwargs": '{"n": 42}'}, content=ECHO, headers=PYTHON)
        assert answer.json() == {"n": 42}


class TestLargeRequests:
    def test_a_url_with_code_of_a_million_bytes_is_accepted(self, http: httpx.Client, tmp_path: Path) -> None:
        code = "len('" + "x" * 999_993 + "')"
        assert len(code) == 1_000_000
        (tmp_path / "code").write_text(code)
        done = curl("-G", str(http.base_url), "--data-urlencode", f"code@{tmp_path / 'code'}")
        assert (done.returncode, done.stdout) == (0, b"999993")

    def test_a_url_of_one_mebibyte_is_accepted(self, server: LiveServer) -> None:
        url = "/?code='" + "x" * (1024 * 1024 - 9) + "'"
        assert len(url) == 1024 * 1024
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", url)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read())) == (200, 1024 * 1024 - 9)

    def test_a_url_that_is_too_long_is_refused(self, http: httpx.Client, tmp_path: Path) -> None:
        (tmp_path / "code").write_text("x" * 1_200_000)
        command = ["-G", "-o", "/dev/null", "-w", "%{http_code}", str(http.base_url)]
        done = curl(*command, "--data-urlencode", f"code@{tmp_path / 'code'}")
        assert done.stdout in (b"431", b"414", b"400", b"000")
        assert http.get("/_owt/health").status_code == 200

    def test_a_body_of_many_megabytes_is_accepted(self, http: httpx.Client, tmp_path: Path) -> None:
        (tmp_path / "body").write_bytes(bytes(20_000_000))
        url = f"{http.base_url}?code={quote('len(request.data)')}"
        done = curl("--data-binary", f"@{tmp_path / 'body'}", "-H", "Content-Type: a/b", url)
        assert done.stdout == b"20000000"

    def test_a_chunked_body_is_accepted(self, http: httpx.Client) -> None:
        def body():  # type: ignore[no-untyped-def]
            yield from (b"code=len", b"('chun", b"ked')")

        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert http.post("/", content=body(), headers=headers).text == "7"


class TestSessionsOfRequests:
    def test_the_owt_session_header_selects_the_session(self, http: httpx.Client, session: str) -> None:
        done = curl("-H", f"Owt-Session: {session}", "--data-urlencode", "code=x = 41", str(http.base_url))
        assert done.returncode == 0
        answer = http.post("/", data={"code": "x + 1"}, headers={"Owt-Session": session})
        assert (answer.text, answer.headers["owt-session"]) == ("42", session)

    def test_the_session_field_overrides_the_header(self, http: httpx.Client, session: str) -> None:
        data = {"code": "1", "session": session}
        answer = http.post("/", data=data, headers={"Owt-Session": "another"})
        assert answer.headers["owt-session"] == session
        assert http.get("/_owt/sessions/another").status_code == 404

    @pytest.mark.parametrize("name", ["a", "A.b-c_9", "9", "_", "-", "n" * 64])
    def test_a_valid_session_name_is_accepted(self, http: httpx.Client, name: str) -> None:
        assert http.post("/", data={"code": "'ok'", "session": name}).text == "ok"
        assert http.get(f"/_owt/sessions/{name}").json()["name"] == name
        http.delete(f"/_owt/sessions/{name}")


class TestPages:
    def test_the_root_page_shows_a_browser_how_to_call(self, http: httpx.Client) -> None:
        answer = http.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert f"curl -G {str(http.base_url).rstrip('/')}/hello" in unescape(answer.text)

    def test_every_link_of_the_welcome_page_works(self, http: httpx.Client) -> None:
        links = [unescape(link) for link in re.findall('href="([^"]+)"', http.get("/").text)]
        answers = {link: http.get(link) for link in links}
        assert {answer.status_code for answer in answers.values()} == {200}
        assert "Hello, owt!" in [answer.text for answer in answers.values()]

    def test_every_link_of_the_index_page_works(self, http: httpx.Client) -> None:
        links = re.findall('href="([^"]+)"', http.get("/_owt/").text)
        assert {"/_owt/sessions", "/_owt/runs", "/_owt/health", "/_owt/cache"} <= set(links)
        assert {link: http.get(link).status_code for link in links} == dict.fromkeys(links, 200)

    def test_the_index_is_json_for_programs(self, http: httpx.Client) -> None:
        index = http.get("/_owt", headers={"Accept": "application/json"}).json()
        assert index["version"] == version("owt-server")
        links = index["links"]
        assert set(links) < {page["path"] for page in index["pages"]}
        types = {link: http.get(link).headers["content-type"] for link in links}
        assert types.pop("/_owt/metrics").startswith("text/plain; version=")
        assert set(types.values()) == {"application/json"}

    def test_the_root_with_any_field_is_a_call(self, http: httpx.Client) -> None:
        assert http.get("/?code=1").text == "1"
        assert http.get("/?fn_name=x").status_code == 400

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/robots.txt", 404), ("/docs", 404), ("/healthz?full=1", 404), ("/favicon.ico", 200)],
    )
    def test_a_request_of_a_browser_or_a_crawler_is_no_call(
        self, http: httpx.Client, path: str, status: int
    ) -> None:
        before = {run["id"] for run in http.get("/_owt/runs").json()["runs"]}
        for method in ("GET", "HEAD"):
            answer = http.request(method, path)
            assert (answer.status_code, "owt-run" in answer.headers) == (status, False)
        if status == 404:
            assert http.get(path).text.startswith("no such endpoint: code: is missing")
        else:
            assert answer.headers["content-type"] == "image/png"
        # Ended runs are forgotten after some minutes.
        assert {run["id"] for run in http.get("/_owt/runs").json()["runs"]} <= before

    def test_a_post_without_code_is_a_bad_call_whose_hint_names_this_server(self, http: httpx.Client) -> None:
        answer = http.post("/other")
        assert answer.status_code == 400
        assert answer.text.startswith("bad request: code: is missing, and '/other' is no endpoint")
        assert f"curl {str(http.base_url).rstrip('/')}/ --data-urlencode" in answer.text

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
    def test_other_methods_get_405(self, http: httpx.Client, method: str) -> None:
        answer = http.request(method, "/", params={"code": "1"})
        assert answer.status_code == 405
        assert method in answer.text
        assert answer.headers["allow"] == "GET, POST, HEAD, OPTIONS"

    @pytest.mark.parametrize(("method", "path"), [("PUT", "/"), ("GET", "/_owt/sessions/%FF")])
    def test_a_response_before_the_body_was_read_has_connection_close(
        self, http: httpx.Client, method: str, path: str
    ) -> None:
        assert http.request(method, path).headers["connection"] == "close"
        assert http.get("/?code=1").text == "1"

    @pytest.mark.parametrize(
        ("path", "allow"),
        [
            ("/", "GET, POST, HEAD, OPTIONS"),
            ("/any?code=1", "GET, POST, HEAD, OPTIONS"),
            ("/_owt/health/live", "GET, HEAD, OPTIONS"),
            ("/_owt/sessions/x", "GET, HEAD, DELETE, PUT, OPTIONS"),
            ("/_owt/sessions/x/restart", "POST, OPTIONS"),
            ("/_owt/runs/x/events", "GET, HEAD, OPTIONS"),
            ("/_owt/jupyter/api/kernels", "GET, HEAD, POST, OPTIONS"),
            ("/_owt/jupyter/api/kernels/1-1-1-1-1/channels", "GET, OPTIONS"),
        ],
    )
    def test_options_names_the_methods(self, http: httpx.Client, path: str, allow: str) -> None:
        answer = http.request("OPTIONS", path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, allow, b"")
        assert http.request("OPTIONS", "/_owt/nothing").status_code == 404

    @pytest.mark.parametrize(
        "check",
        [
            b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n",
            # HAProxy's option httpchk.
            b"OPTIONS / HTTP/1.0\r\n",
            b"HEAD / HTTP/1.0\r\n",
        ],
    )
    def test_the_checks_of_proxies_are_answered(self, server: LiveServer, check: bytes) -> None:
        address = server.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=30) as client:
            client.sendall(check + b"Connection: close\r\n\r\n")
            with client.makefile("rb") as response:
                head, _, body = response.read().partition(b"\r\n\r\n")
        assert head.split()[1] in (b"200", b"204")
        assert body == b""

    @pytest.mark.parametrize(
        "path", ["/", "/_owt/", "/_owt/sessions", "/_owt/health/live", "/_owt/jupyter/api/status"]
    )
    def test_head_of_a_page_has_the_headers_of_get(self, http: httpx.Client, path: str) -> None:
        head, get = http.head(path), http.get(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
        assert ("content-length" in head.headers) is ("content-length" in get.headers)

    def test_head_runs_only_what_is_for_get_alone(self, http: httpx.Client, session: str) -> None:
        code = f"""
            ran = []
            def add(name):
                ran.append(name)
                return name
            @endpoint("/{session}/safe", methods=["GET"])
            def safe(): return add("safe")
            @endpoint("/{session}/default")
            def default(): return add("default")
            @endpoint("/{session}/endless", methods=["GET"])
            def endless():
                while True:
                    yield add("endless")
        """
        assert http.post("/", data={"session": session, "code": dedent(code)}).status_code == 200
        safe, default, endless, with_code = (
            http.head(path)
            for path in (
                f"/{session}/safe",
                f"/{session}/default",
                f"/{session}/endless",
                f"/?session={session}&code=add('code')",
            )
        )
        assert {answer.status_code for answer in (safe, default, endless, with_code)} == {200}
        assert (safe.headers["content-length"], safe.content) == ("4", b"")
        assert "content-length" not in default.headers
        ran = http.post("/", data={"session": session, "code": "sorted(set(ran))"})
        assert ran.json() == ["endless", "safe"]
        run = ran.headers["owt-run"]
        for name, media_type in (("events", "text/event-stream; charset=utf-8"), ("answer", None)):
            head = http.head(f"/_owt/runs/{run}/{name}")
            assert (head.status_code, head.headers.get("content-type")) == (200, media_type)

    def test_the_servers_own_pages_run_no_code(self, http: httpx.Client) -> None:
        answer = http.get("/_owt/nothing", params={"code": "1"})
        assert answer.status_code == 404
        assert "/_owt/nothing" in answer.text


class TestMalformed:
    @pytest.mark.parametrize(
        ("fields", "field", "fragment"),
        [
            ({"code_b64": "!!!"}, "code_b64", "'!!!'"),
            ({"code_b64": "YQ==="}, "code_b64", "'YQ==='"),
            ({"code_b64": "YWJjZ"}, "code_b64", "'YWJjZ'"),
            ({"code_b64": "/w=="}, "code_b64", "UTF-8"),
            ({"code": "1", "kwargs_b64": "%%%"}, "kwargs_b64", "'%%%'"),
            ({"code": "1", "code_b64": "MQ=="}, "code", "ambiguous"),
            ({"code": "1", "kwargs": "1", "kwargs_b64": "MQ=="}, "kwargs", "ambiguous"),
            ({"code": "1", "adaptor": "speak"}, "adaptor", "'speak'"),
            ({"code": "1", "session": "a/b"}, "session", "'a/b'"),
            ({"code": "1", "session": ""}, "session", "''"),
            ({"code": "1", "session": "x" * 65}, "session", "'xxx"),
            ({"code": "1", "session": ".."}, "session", "'..'"),
            ({"code": "1", "session": "ü"}, "session", "'ü'"),
            ({"code": "1", "session": "bad-kernel", "kernel": "nosuch"}, "kernel", "'nosuch'"),
            ({"code": "1", "kernel": "nosuch"}, "kernel", "'nosuch'"),
            ({"code": "1", "fn_name": "not a name"}, "fn_name", "'not a name'"),
            ({"code": "1", "fn_name": "class"}, "fn_name", "'class'"),
            ({"code": "1", "timeout": "soon"}, "timeout", "soon"),
            ({"code": "1", "timeout": "-1"}, "timeout", "-1"),
            ({"code": "1", "timeout": "nan"}, "timeout", "nan"),
            ({"code": "1", "stream": "maybe"}, "stream", "'maybe'"),
            ({"code": "1", "reload": "perhaps"}, "reload", "perhaps"),
            ({"code": "1", "use_cache": "2"}, "use_cache", "2"),
            ({"code": "1", "cache_kwargs": "x"}, "cache_kwargs", "x"),
            ({"code": "1", "kwargs": "{"}, "kwargs", "'{'"),
            ({"code": "1", "kwargs": "no such names"}, "kwargs", "'no such names'"),
            ({"code": "1", "kwargs": "1/0"}, "kwargs", "ZeroDivisionError"),
            ({"code": "def run(:"}, "code", "line 1"),
            ({"adaptor": "nosuch"}, "adaptor", "'nosuch'"),
            ({"adaptor": "No Such"}, "adaptor", "'No Such'"),
            ({"kwargs": "1"}, "code", "missing"),
            ({"code": ""}, "code", "missing"),
            ({"session": "only"}, "code", "missing"),
        ],
    )
    @pytest.mark.parametrize("carrier", ["query", "form", "json"])
    def test_an_error_names_the_field_and_shows_its_value(
        self, http: httpx.Client, fields: dict[str, str], field: str, fragment: str, carrier: str
    ) -> None:
        headers = {"Accept": "application/json"}
        match carrier:
            case "query":
                answer = http.get("/", params=fields, headers=headers)
            case "form":
                answer = http.post("/", data=fields, headers=headers)
            case _:
                answer = http.post("/", json=fields, headers=headers)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        detail = answer.json()["detail"]
        assert detail.startswith(f"{field}: ")
        assert fragment in detail

    @pytest.mark.parametrize(
        ("fields", "field", "fragment"),
        [
            ({"code": 1}, "code", "1"),
            ({"code": ["1"]}, "code", '["1"]'),
            ({"code": "1", "session": 7}, "session", "7"),
            ({"code": "1", "timeout": [1]}, "timeout", "[1]"),
            ({"code": "1", "timeout": True}, "timeout", "true"),
            ({"code": "1", "timeout": 0}, "timeout", "0"),
            ({"code": "1", "reload": {"a": 1}}, "reload", '{"a":1}'),
            ({"code": "1", "use_cache": 2}, "use_cache", "2"),
            ({"code": "1", "stream": True}, "stream", "true"),
        ],
    )
    def test_an_error_for_json_of_the_wrong_type_shows_json(
        self, http: httpx.Client, fields: dict[str, object], field: str, fragment: str
    ) -> None:
        answer = http.post("/", json=fields)
        assert answer.status_code == 400
        assert answer.text.startswith(f"bad request: {field}: ")
        assert f"; got {fragment}\n" in answer.text

    @pytest.mark.parametrize(
        ("body", "fragment"),
        [
            (b"{", "'{'"),
            (b'{"code": "1",}', "'{\"code\": \"1\",}'"),
            (b'{"code": \'1\'}', "code"),
            (b"\xff\xfe", "body"),
            (b"not json", "'not json'"),
        ],
    )
    def test_an_error_for_an_invalid_json_body_shows_the_body(
        self, http: httpx.Client, body: bytes, fragment: str
    ) -> None:
        answer = http.post("/", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert answer.text.startswith("bad request: body: ")
        assert fragment in answer.text

    @pytest.mark.parametrize(
        "field", ["code_b64", "kwargs_b64", "session", "kernel", "fn_name", "timeout", "stream"]
    )
    def test_a_long_value_is_shortened_in_the_error(self, http: httpx.Client, field: str) -> None:
        fields = {"code": "1", field: "begin" + "?" * 500_000 + "end"}
        if field == "code_b64":
            del fields["code"]
        answer = http.post("/", data=fields)
        assert answer.status_code == 400
        assert len(answer.text) < 600
        assert "'begin???" in answer.text
        assert "???end'" in answer.text

    def test_code_sent_as_a_form_by_curl_gets_a_hint(self, http: httpx.Client) -> None:
        done = curl(str(http.base_url), "--data-binary", "def run(): return 1")
        assert b"-H 'Content-Type: text/x-python'" in done.stdout

    def test_an_error_for_an_unknown_kernel_lists_the_known_ones(self, http: httpx.Client) -> None:
        answer = http.get("/", params={"code": "1", "session": "bad-kernel", "kernel": "nosuch"})
        assert "owt" in answer.text.partition("There are: ")[2]
        assert http.get("/_owt/sessions/bad-kernel").status_code == 404

    def test_a_malformed_session_header_is_named_in_the_error(self, http: httpx.Client) -> None:
        answer = http.get("/", params={"code": "1"}, headers={"Owt-Session": "a b"})
        assert answer.status_code == 400
        assert answer.text.startswith("bad request: Owt-Session: ")
        assert "'a b'" in answer.text


def test_a_refused_request_has_a_run_with_the_failure(http: httpx.Client) -> None:
    answer = http.post("/", data={"code_b64": "%%%"})
    assert answer.status_code == 400
    run = http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()
    assert run["state"] == "failed"
    assert run["failure"]["type"] == "bad-request"
    assert "code_b64" in run["failure"]["detail"]


@pytest.mark.parametrize(
    ("code", "type"),
    [
        ("'a'", "text/html; charset=utf-8"),
        ("b'a', {'Content-Type': 'audio/wav'}", "audio/wav"),
        ("{'a': 1}", "application/json"),
        ("(n for n in range(2))", "application/x-ndjson"),
        ("1 / 0", None),
    ],
)
def test_a_run_records_the_content_type_of_its_result(http: httpx.Client, code: str, type: str) -> None:
    answer = http.get("/", params={"code": code, "stream": "sse"})
    assert http.get(f"/_owt/runs/{answer.headers['owt-run']}").json()["content_type"] == type
