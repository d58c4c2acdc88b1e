from __future__ import annotations

import subprocess
import sys

import pytest

from owt.errors import ConfigError
from owt.server import Server, base_url


@pytest.fixture(autouse=True)
def _nothing_announced(monkeypatch):
    monkeypatch.setattr(Server, "_announced", None)
    for name in ("OWT_URL", "OWT_ADDRESS", "OWT_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_outside_a_kernel_it_is_the_default():
    server = Server.sing()
    assert (server.url, server.address, server.port) == ("http://127.0.0.1:9876", "127.0.0.1", 9876)


def test_there_is_one():
    assert Server.sing() is Server.sing()


def test_the_kernel_announces_it():
    Server.announce("http://10.0.0.1:8000/", "10.0.0.1", 8000)
    server = Server.sing()
    assert (server.url, server.address, server.port) == ("http://10.0.0.1:8000", "10.0.0.1", 8000)


@pytest.mark.parametrize(
    ("environ", "url", "address", "port"),
    [
        ({"OWT_PORT": "8000"}, "http://127.0.0.1:8000", "127.0.0.1", 8000),
        ({"OWT_ADDRESS": "owt.example"}, "http://owt.example:9876", "owt.example", 9876),
        ({"OWT_ADDRESS": "::1"}, "http://[::1]:9876", "::1", 9876),
        ({"OWT_ADDRESS": "[::1]"}, "http://[::1]:9876", "::1", 9876),
        ({"OWT_ADDRESS": "0.0.0.0"}, "http://127.0.0.1:9876", "127.0.0.1", 9876),
        ({"OWT_ADDRESS": "::"}, "http://[::1]:9876", "::1", 9876),
        ({"OWT_URL": "https://owt.example/"}, "https://owt.example", "owt.example", 443),
        ({"OWT_URL": "http://h:1", "OWT_PORT": "2"}, "http://h:1", "h", 1),
        ({"OWT_URL": "http://[::1]:5"}, "http://[::1]:5", "::1", 5),
    ],
)
def test_outside_a_kernel_the_environment_says(environ, url, address, port):
    assert Server.from_environment(environ) == Server(url, address, port)


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"OWT_PORT": "many"}, "OWT_PORT"),
        ({"OWT_PORT": "65536"}, "OWT_PORT"),
        ({"OWT_URL": "localhost:9876"}, "OWT_URL"),
        ({"OWT_URL": "http://"}, "OWT_URL"),
        ({"OWT_URL": "http://h:port"}, "OWT_URL"),
        ({"OWT_URL": "http://[::1"}, "OWT_URL"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(environ, source):
    with pytest.raises(ConfigError, match=f"^{source}: "):
        Server.from_environment(environ)


def test_an_ipv6_address_stands_in_brackets():
    assert base_url("::1", 9876) == "http://[::1]:9876"
    assert base_url("127.0.0.1", 1) == "http://127.0.0.1:1"


def test_its_module_runs_the_server():
    done = subprocess.run(
        [sys.executable, "-m", "owt.server", "--port", "rubbish"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "owt: --port: give a whole number; got 'rubbish'\n"


def test_importing_it_loads_neither_click_nor_tornado():
    program = "import owt.server, sys; print([m for m in ('click', 'tornado', 'httpx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
