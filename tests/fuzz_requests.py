"""Random bytes and mutated requests, for the fuzz tests.

Each `Exchange` is method from `SEED`, its kind and its number alone.
"""

from __future__ import annotations

import base64
import json
import os
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, urlencode

SEED = int(os.environ.get("FUZZ_SEED", "20261123"))

FORM = "application/x-www-form-urlencoded"
LAST = b"GET /_owt/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """A request in its parts, some of which may be wrong."""

    target: str = "/"
    method: str = "GET"
    headers: tuple[tuple[bytes, bytes], ...] = ((b"Host", b"localhost"),)
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    end: bytes = b"\r\n"

    def encode(self) -> bytes:
        """Return the bytes of the request."""
        line = self.method.encode("latin-1") + b" " + self.target.encode("latin-1") + b" " + self.version
        lines = [line, *(name + b": " + value for name, value in self.headers)]
        return self.end.join([*lines, b"", self.body])

    def having(self, name: bytes, value: bytes) -> Request:
        """Return a copy with one more header."""
        return replace(self, headers=(*self.headers, (name, value)))


def sending(body: bytes, kind: str = "", target: str = "/", method: str = "POST") -> Request:
    """Return a request with a body."""
    request = Request(target, method, body=body).having(b"Content-Length", b"%d" % len(body))
    return request.having(b"Content-Type", kind.encode("latin-1")) if kind else request


def in_chunks(body: bytes, size: int = 5) -> Request:
    """Return a form whose body is sent in chunks."""
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in _cut(body, size)]
    request = Request("/", "POST", body=b"".join([*chunks, b"0\r\n\r\n"]))
    return request.having(b"Transfer-Encoding", b"chunked").having(b"Content-Type", FORM.encode())


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="code"\r\n\r\n1 + 1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n\x00\xff\r\n--b--\r\n'
)
STREAM = quote("def run():\n    for n in range(3): yield str(n)")

RIGHT: tuple[Request, ...] = (
    Request(),
    Request("/a/b?code=1"),
    Request("/?code=request.url&session=fuzz-1"),
    Request(f"/?code={STREAM}"),
    Request(f"/?code={STREAM}&stream=sse&session=fuzz-1"),
    Request("/?code=1/0"),
    Request("/?code=1", "HEAD"),
    Request("/?code=1", "OPTIONS"),
    sending(b"code=1&session=fuzz-2&kwargs={}", FORM),
    sending(b'{"code": "lambda a: a", "kwargs": {"a": [1, {"b": null}]}}', "application/json"),
    sending(MULTIPART, "multipart/form-data; boundary=b"),
    sending(b"def run(name):\n    return name\n", "text/x-python", "/?name=owt"),
    sending(bytes(range(256)) * 40, "application/octet-stream", "/?code=len(request.data)"),
    in_chunks(b"code=1&timeout=5"),
    Request("/_owt/"),
    Request("/_owt/health"),
    Request("/_owt/runs"),
    Request("/_owt/sessions"),
    Request("/_owt/sessions/fuzz-1"),
    sending(b'{"concurrency": 2}', "application/json", "/_owt/sessions/fuzz-2", "PUT"),
    Request("/_owt/sessions/fuzz-1/interrupt", "POST").having(b"Content-Length", b"0"),
)

ODD_NUMBERS = (
    b"-1", b"+1", b"0x10", b"1e3", b"", b" ", b"9" * 30, b"9" * 5000, b"1, 1", b"1, 2", b"0", b"1", b"3",
    b"4096", b"18446744073709551616", b"2147483648", b"\xb2", b"1_0", b"00000000000000000000000000000001",
)
ODD_VALUES = (
    b"", b" ", b"\0", b"\x01", b"\x7f", b"\xff", b"a\0b", b"a\tb", b",", b";", b"=", b'"', b"a" * 5000,
    b"*/*", b"close", b"keep-alive", b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked",
    b"identity", b"100-continue", b"upgrade, close", b"h2c", b"text/event-stream", b"a, b",
    b"localhost, localhost", b"[::1", b"localhost:99999", b"127.0.0.1", b"evil.example",
    b"http://localhost", b"null", b"cross-site", b"none", b"Basic Zm9vOmJhcg==", b"Basic ====",
    b"Bearer \xff", b"fuzz-1", b"../..", b"gzip", b"en", b"W/\"x\"", b"application/json",
    b"multipart/form-data; boundary=", b"multipart/form-data; boundary=\"b", b"bytes=0-",
)
NAMES = (
    b"Host", b"Content-Length", b"Transfer-Encoding", b"Content-Type", b"Accept", b"Connection",
    b"Expect", b"Upgrade", b"Owt-Session", b"Origin", b"Sec-Fetch-Site", b"Authorization", b"Cookie",
    b"Range", b"Last-Event-ID", b"If-None-Match", b"Accept-Encoding", b"Content-Encoding", b"TE",
    b"Trailer", b"X-Forwarded-For", b"X-Forwarded-Proto", b"Forwarded", b"Keep-Alive", b"Date", b"X", b"",
    b"a b", b"a\xff", b"a\0", b"a" * 3000, b":",
)
TARGETS = (
    "*", "", "?code=1", "//", "///?code=1", "/../..?code=1", "/./?code=1", "/%2e%2e/?code=1",
    "/%00?code=1", "/%?code=1", "/%zz?code=%zz", "/%ff%fe?code=1", "/?code=%ff", "/?code=1%00",
    "/?%00=%00", "/?=", "/?&&&", "/?code", "http://localhost/?code=1", "http://evil.example/?code=1",
    "https://localhost/?code=1", "localhost:80", "http://", "http://[/?code=1", "/?code=1#fragment",
    "/#?code=1", "/a b?code=1", "/\t", "/\\..\\?code=1", "/\xff\xfe", "/?code=1&" + "a=b&" * 900,
    "/?" + "&" * 20_000, "/" + "a" * 60_000, "/?code=" + "%31" * 20_000, "/_owt", "/_owt//",
    "/_owt/../?code=1", "/_owt/%2e%2e", "/_owt/sessions/", "/_owt/sessions/%2F", "/_owt/sessions/..",
    "/_owt/runs/%00", "/_owt/runs/" + "9" * 3000, "/_owt/sessions/fuzz-1/", "/_owt/sessions/fuzz-1/none",
    "/_owt/health?x=%ff", "/favicon.ico", "/robots.txt", "/?session=fuzz-1&fn_name=f",
)
METHODS = ("get", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "", "G\0T")
VERSIONS = (
    b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/1.10", b"http/1.1",
    b"HTTP/1.1 ", b"HTTP", b"", b"HTTP/\xb2.\xb2", b"HTTP/9.9", b"HTTPS/1.1",
)
OTHER_PROTOCOLS = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(30),
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(60), b"GET /\r\n", b"GET / HTTP/0.9\r\n\r\n",
    b"\r\n\r\n\r\n", b"\n\n\n\n", b"\0\0\0\0", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", b"SSH-2.0-x\r\n",
    b"EHLO x\r\n", b"\x05\x01\0", b"owt1 kernel calls\n", b" GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
)
CHUNKS = (
    b"5\r\nab", b"-1\r\n", b"g\r\n", b"\r\n", b"5;ext=1\r\ncode=\r\n0\r\n\r\n", b"1\r\nabc\r\n",
    b"0\r\nTrailer: x\r\n\r\n", b"0\r\n", b"0x5\r\ncode=\r\n0\r\n\r\n", b"F" * 60 + b"\r\n",
    b"F" * 70 + b"\r\n", b" 5\r\ncode=\r\n0\r\n\r\n", b"5 \r\ncode=\r\n0\r\n\r\n", b"5\ncode=\n0\n\n",
    b"00000005\r\ncode=\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"6\r\ncode=1\r\n0\r\n\r\n", b"",
    b"1\r\n1\r\n" * 3000 + b"0\r\n\r\n",
)
BODIES = (
    b"", b"&", b"code", b"code=%", b"code=%f", b"code=%ff", b"code=1&code_b64=MQ", b"%00=%00", b"=" * 500,
    b"&" * 20_000, b"\xff" * 100, b"{", b"[" * 5000, b"{}", b'{"code"', b'{"code":1}',
    b'{"code":"\\ud800"}', b'{"code":"1","code":2}', b'{"timeout":1e999,"code":"1"}',
    b'{"timeout":' + b"9" * 5000 + b',"code":"1"}', b"null", b'"x"', b"NaN", b"--b", b"--b--",
    b"--b\r\n\r\n--b--", MULTIPART[:-4], MULTIPART[:40], MULTIPART * 3, MULTIPART.replace(b"\r\n", b"\n"),
    MULTIPART.replace(b"form-data", b"x"), MULTIPART.replace(b'"code"', b"code"),
    MULTIPART.replace(b'"code"', b'"co\0de'), b"--b\r\n" * 1500 + b"--b--", b"import os\n" * 10,
    b"def run(", b"\0", b"\xef\xbb\xbf1", b"1;" * 5000, b"(" * 3000,
)

WORDS = (
    b"GET", b"POST", b" ", b"/", b"?", b"HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Host: localhost", b":", b"\0",
)

Change = Callable[[random.Random, Request], Request]


def _other_header(dice: random.Random, request: Request) -> Request:
    return request.having(dice.choice(NAMES), dice.choice(ODD_VALUES))


def _odd_length(dice: random.Random, request: Request) -> Request:
    headers = tuple(pair for pair in request.headers if pair[0] != b"Content-Length" or dice.random() < 0.3)
    return replace(request, headers=headers).having(b"Content-Length", dice.choice(ODD_NUMBERS))


def _lost_header(dice: random.Random, request: Request) -> Request:
    lost = dice.randrange(len(request.headers) + 1)
    return replace(request, headers=request.headers[:lost] + request.headers[lost + 1 :])


def _repeated_header(dice: random.Random, request: Request) -> Request:
    return request.having(*dice.choice(request.headers or ((b"Host", b"localhost"),)))


def _changed_header(dice: random.Random, request: Request) -> Request:
    if not request.headers:
        return request
    place = dice.randrange(len(request.headers))
    changed = (request.headers[place][0], dice.choice(ODD_VALUES))
    return replace(request, headers=(*request.headers[:place], changed, *request.headers[place + 1 :]))


def _many_headers(dice: random.Random, request: Request) -> Request:
    header = dice.choice([(b"A", b"b"), (b"Accept", b"a/b"), (b"Cookie", b"a=b"), (b"Host", b"localhost")])
    return replace(request, headers=(*request.headers, *[header] * dice.choice([2, 50, 3000])))


def _huge_header(dice: random.Random, request: Request) -> Request:
    value = dice.choice([b"a", b"a,", b" b", b"\xff"]) * dice.choice([3000, 60_000])
    return request.having(dice.choice(NAMES), value)


def _both_framings(dice: random.Random, request: Request) -> Request:
    return replace(in_chunks(b"code=1"), target=request.target).having(
        b"Content-Length", dice.choice([b"0", b"3", b"16", b"17", b"1000"])
    )


def _broken_chunks(dice: random.Random, request: Request) -> Request:
    return replace(in_chunks(b"", 1), target=request.target, body=dice.choice(CHUNKS))


def _other_body(dice: random.Random, request: Request) -> Request:
    framing = (b"Content-Length", b"Transfer-Encoding")
    headers = tuple(pair for pair in request.headers if pair[0] not in framing)
    body = dice.choice(BODIES)
    other = replace(request, method="POST", headers=headers, body=body)
    return other.having(b"Content-Length", b"%d" % len(body))


CHANGES: tuple[Change, ...] = (
    _other_header, _odd_length, _lost_header, _repeated_header, _changed_header, _many_headers, _huge_header,
    _both_framings, _broken_chunks, _other_body,
    lambda dice, request: replace(request, target=dice.choice(TARGETS)),
    lambda dice, request: replace(request, method=dice.choice(METHODS)),
    lambda dice, request: replace(request, version=dice.choice(VERSIONS)),
    lambda dice, request: replace(request, version=b"HTTP/1.0").having(b"Connection", b"keep-alive"),
    lambda dice, request: replace(request, end=dice.choice([b"\n", b"\r", b"\r\r\n", b"\r\n "])),
    lambda dice, request: request.having(b"Expect", b"100-continue"),
    lambda dice, request: request.having(b"Connection", b"close"),
)


@dataclass(frozen=True)
class Exchange:
    """The bytes that a client sends.

    `head` says that it asks for no body, `right` that it is HTTP, so that one whole answer must come, and
    `ends` that the client sends nothing more from then on.
    """

    sent: bytes
    head: bool = False
    right: bool = False
    ends: bool = False


def random_bytes(dice: random.Random) -> Exchange:
    """Return random bytes that are not meant to be HTTP."""
    size = dice.choice([0, 1, 10, 100, 1000, 5000])
    match dice.randrange(4):
        case 0:
            sent = dice.randbytes(size)
        case 1:
            sent = "".join(dice.choices(string.printable, k=size)).encode()
        case 2:
            sent = b"".join(dice.choices(WORDS, k=size // 10))
        case _:
            sent = dice.choice(OTHER_PROTOCOLS) + dice.choice([b"", LAST, dice.randbytes(20)])
    return Exchange(sent, ends=dice.random() < 0.9)


def mutated(dice: random.Random) -> Exchange:
    """Return one to three requests of which at least one is malformed."""
    requests = dice.choices(RIGHT, k=dice.choice([1, 1, 1, 2, 3]))
    changed = requests[-1]
    for change in dice.sample(CHANGES, k=dice.choice([0, 1, 1, 2, 3])):
        changed = change(dice, changed)
    requests[-1] = changed
    sent = bytearray(b"".join(request.encode() for request in requests))
    what = dice.randrange(5)
    if what == 0:
        for _ in range(dice.choice([1, 1, 2, 10])):
            sent[dice.randrange(len(sent))] ^= 1 << dice.randrange(8)
    elif what == 1:
        del sent[dice.randrange(len(sent)) :]
    elif what == 2:
        at = dice.randrange(len(sent))
        sent[at:at] = dice.choice([*WORDS, b"\r", b"\n", b"\xff", sent[at : at + 30]])
    head = any(request.method == "HEAD" for request in requests)
    return Exchange(bytes(sent) + (LAST if what > 1 and not head else b""), head, ends=what == 1)


ODD_TEXTS = (
    "", " ", "\0", "\r\n", "\ufeff", "ü💥", "0", "-1", "1e999", "nan", "9" * 4400, "true", "null", "[]",
    "{}", "(", "'", "..", ".", "a" * 64, "a" * 65, "../x", "%", "fuzz-1", "fuzz-2", "speak", "Speak",
    "owt", "python3", "no-such", "class", "run", "é", "\u2028", "sse", "raw", "auto", "1", "1 + 1", "1/0",
    "def run(a): return a", "lambda: 1", "{'a': 1}", '{"a": 1}', "[" * 200, "{'a':" * 60, "request.args",
    "yield", "MQ", "MQ==", "*", "A" * 3000, "x\udcff", "print(1)",
)
ODD_VALUES_OF_JSON = (1, -1, 1.5, True, None, "x", [], {}, [[1]], {"a": None})
GENERATOR = "def run(**kw):\n    yield 'a'\n    yield 'b'"
FIELDS = (
    "code", "code_b64", "kwargs", "kwargs_b64", "adaptor", "fn_name", "session", "kernel", "env", "cwd",
    "use_cache",
    "cache_kwargs", "cache_key_override", "timeout", "reload", "stream", "display", "detach", "unknown",
)
RESTART = "sessions/fuzz-1/restart"
PAGES = ("sessions", "runs", "cache", "health", "metrics", "nothing", "", RESTART, "runs/ID/events")


def odd_fields(dice: random.Random) -> Exchange:
    """Return a valid HTTP request with odd fields or an odd path under /_owt/."""
    request = _of_the_servers_pages(dice) if dice.random() < 0.4 else _of_a_call(dice)
    request = request.having(b"Connection", b"close")
    if dice.random() < 0.3:
        accepts = [b"application/json", b"text/event-stream", b"*/*;q=0", b"a/b;q=x, */*", b"image/png"]
        request = request.having(b"Accept", dice.choice(accepts))
    return Exchange(request.encode(), right=True)


def _of_a_call(dice: random.Random) -> Request:
    names = dice.sample(FIELDS, k=dice.choice([1, 2, 3, 4]))
    fields = {name: dice.choice(ODD_TEXTS) for name in names}
    if dice.random() < 0.7:
        fields = {"code": dice.choice(["1", "lambda **kw: len(kw)", GENERATOR])} | fields
    # Valid names create sessions, so use few of them.
    if fields.get("session") in ("0", "true", "null", "..", "a" * 64, "owt"):
        fields["session"] = "fuzz-1"
    encoded = {name: value.encode("utf-8", "surrogateescape") for name, value in fields.items()}
    match dice.randrange(6):
        case 0:
            return Request(f"/?{urlencode(encoded)}")
        case 1:
            return sending(urlencode(encoded).encode(), FORM)
        case 2:
            odd = {name: dice.choice([text, text, *ODD_VALUES_OF_JSON]) for name, text in fields.items()}
            return sending(json.dumps(odd).encode(), "application/json")
        case 3:
            parts = [
                b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
                for name, value in encoded.items()
            ]
            return sending(b"".join([*parts, b"--b--\r\n"]), "multipart/form-data; boundary=b")
        case 4:
            return sending(encoded.pop("code", b"1"), "text/x-python", f"/?{urlencode(encoded)}")
        case _:
            code = base64.b64encode(encoded.pop("code", b"1"))
            encoded.pop("code_b64", None)
            return sending(urlencode({**encoded, "code_b64": code}).encode(), FORM)


def _of_the_servers_pages(dice: random.Random) -> Request:
    name = quote(dice.choice(ODD_TEXTS).encode("utf-8", "surrogateescape"), safe="")
    path = dice.choice([*PAGES, f"sessions/{name}", f"runs/{name}", f"runs/{name}/events?after={name}", name])
    # Kernels take time to start, so create and end sessions seldom.
    method = ["GET", "GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"][dice.randrange(8)]
    if method == "DELETE" and "fuzz" in path and dice.random() < 0.8:
        method = "GET"
    if path == RESTART and dice.random() < 0.8:
        path = "runs"
    bodies = [b"", b"{}", b'{"kernel": "no-such"}', b'{"concurrency": 0}', b'{"kernel": 1}', b"\xff", b"["]
    body = dice.choice(bodies)
    if method == "PUT" and "fuzz" not in path:
        body = b'{"kernel": "no-such"}'
    return sending(body, "application/json", f"/_owt/{path}", method if method != "HEAD" else "GET")


KINDS: dict[str, Callable[[random.Random], Exchange]] = {
    "bytes": random_bytes,
    "requests": mutated,
    "fields": odd_fields,
}


def exchange(kind: str, number: int) -> Exchange:
    """Return the exchange of this number, always the same for the same seed."""
    return KINDS[kind](random.Random(f"{SEED} {kind} {number}"))
