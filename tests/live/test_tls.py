"""Server with TLS: calls, streams, aborted responses and clients."""

import json
import socket
import subprocess
import threading

import httpx
import pytest
from certificates import make

from owt.client import Client
from owt.testing import Gate, LiveServer, wait_until

# Adaptors whose response breaks, by the framing of the response.
FAILING = {
    "chunks": ["--http1.1", "def run():\n    yield 'begun'\n    raise ValueError"],
    "the end of the connection": ["--http1.0", "def run():\n    yield 'begun'\n    raise ValueError"],
    "a length": [
        "--http1.1",
        "from flask import Response\n"
        "def parts():\n    yield b'begun'\n    raise ValueError\n"
        "def run(): return Response(parts(), headers={'Content-Length': '100'})",
    ],
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make(tmp_path_factory.mktemp("certificates"), "127.0.0.1")


@pytest.fixture(scope="module")
def tls(certificate):
    with LiveServer("-v", *certificate.options, verify=certificate.trusting_context()) as server:
        yield server


def curl(tls, certificate, *words):
    command = ["curl", "-sSN", "--cacert", certificate.authority, *words, tls.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_the_url_is_https_and_the_certificate_is_verified(tls, certificate):
    assert tls.url == f"https://127.0.0.1:{tls.port}"
    done = curl(tls, certificate, "--data-urlencode", "code=[request.url, request.scheme, Server.sing().url]")
    assert json.loads(done.stdout) == [f"{tls.url}/", "https", tls.url]
    # Other authorities have not signed the certificate.
    assert subprocess.run(["curl", "-sS", tls.url], capture_output=True, timeout=30).returncode == 60


@pytest.mark.parametrize("end_mark", FAILING)
def test_an_aborted_response_makes_curl_fail(tls, certificate, end_mark):
    version, code = FAILING[end_mark]
    done = curl(tls, certificate, version, "--data-urlencode", f"code={code}")
    assert done.stdout == "begun"
    assert done.returncode in (18, 56)


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_a_complete_response_makes_curl_succeed(tls, certificate, version):
    done = curl(tls, certificate, version, "--data-urlencode", "code=(f'{n} ' for n in range(1000))")
    assert done.stdout == "".join(f"{n} " for n in range(1000))
    assert done.returncode == 0


def test_an_event_arrives_while_the_adaptor_runs(tls, certificate, tmp_path):
    gate = Gate(tmp_path)
    code = f"def run():\n    yield 'one'\n    open({str(gate)!r}).read()\n    yield 'two'"
    with httpx.Client(verify=certificate.trusting_context(), timeout=30, trust_env=False) as client:
        fields = {"code": code, "stream": "sse"}
        with client.stream("POST", tls.url, data=fields) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith("data:")) == "data: one"
            gate.open()
            assert next(line for line in lines if line.startswith("data:")) == "data: two"


def test_a_client_that_disconnects_cancels_its_call(tls, certificate, tmp_path):
    gate = Gate(tmp_path)
    code = f"def run():\n    yield 'one'\n    open({str(gate)!r}).read()"
    with (
        httpx.Client(verify=certificate.trusting_context(), timeout=30, trust_env=False) as client,
        client.stream("POST", tls.url, data={"code": code}) as answer,
    ):
        run = answer.headers["Owt-Run"]
        gate.reached()
    wait_until(lambda: tls.ask("GET", f"/_owt/runs/{run}").json()["status"] == 499)


def test_code_in_a_kernel_calls_its_own_server(tls):
    code = "def run():\n    from owt import Client\n    return Client().call('6 * 7')"
    assert tls.call(code).text == "42"
    assert tls.call("!{__import__('sys').executable} -m owt call --code 6*7", session="shell").is_success
    assert "stdout: 42" in tls.wait_for_log("stdout: 42")


def test_kernels_call_a_server_whose_certificate_has_another_name(tmp_path):
    other_name = make(tmp_path, "owt.example.org")
    code = "def run():\n    from owt import Client\n    return Client().call('6 * 7')"
    with LiveServer(*other_name.options) as server:
        # The files may be replaced while the server runs, as when a certificate is renewed.
        make(tmp_path, "owt.example.org")
        assert server.call(code).text == "42"


def test_the_python_client_trusts_the_authorities_of_ssl_cert_file(tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with Client(tls.url) as client:
        assert client.call("6 * 7") == 42
        with client.duplex("def run(): yield from request.messages") as stream:
            sender = threading.Thread(target=lambda: [stream.send(bytes(100_000)) for _ in range(50)])
            sender.start()
            values = iter(stream)
            assert [len(next(values)) for _ in range(50)] == [100_000] * 50
            sender.join()


def test_clients_without_tls_and_silent_clients_disturb_no_other_client(tls):
    with socket.create_connection(("127.0.0.1", tls.port)):
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{tls.port}/", trust_env=False, timeout=20)
        assert tls.call("1").text == "1"
    assert "Traceback" not in tls.log()


def test_a_body_streams_over_tls(tls, certificate):
    code = "def run():\n    for line in request.stream: yield line.decode().upper()"
    command = ["curl", "-sSN", "--cacert", certificate.authority, "-T", "-", "--url-query", f"code={code}"]
    done = subprocess.run([*command, tls.url], input=b"one\n" * 50_000, capture_output=True, timeout=30)
    assert done.stdout == b"ONE\n" * 50_000
