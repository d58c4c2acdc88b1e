"""Models that a kernel loads once."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from owt.errors import MissingExtra
from owt.lib import models


def test_object_made_once_is_shared_between_threads():
    makers = []

    def make() -> object:
        makers.append(threading.get_ident())
        return object()

    key = object()
    with ThreadPoolExecutor(4) as threads:
        objects = set(threads.map(lambda _: models.once(key, make), range(8)))
    assert len(objects) == len(makers) == 1
    assert models.once(object(), make) not in objects


def test_loading_one_model_does_not_delay_another():
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go.wait()
        return "slow"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(models.once, object(), slow)
        begun.wait()
        assert models.once(object(), lambda: "quick") == "quick"
        go.set()
        assert waiting.result() == "slow"


def test_failed_attempt_is_repeated():
    key = object()

    def broken() -> str:
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        models.once(key, broken)
    assert models.once(key, lambda: "there") == "there"


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not .* pip install 'owt-server\[bark\]'"):
        models.libraries()


class Cuda:
    """The part of torch that reports devices."""

    def __init__(self, count: int) -> None:
        self.cuda = self
        self.device_count = lambda: count
        self.is_available = lambda: count > 0


@pytest.mark.parametrize(
    ("count", "number", "name"),
    [(0, None, "cpu"), (2, None, "cuda:0"), (2, 1, "cuda:1"), (2, "1", "cuda:1"), (1, 0, "cuda:0")],
)
def test_device_is_the_requested_or_first_cuda_device_or_the_cpu(
    monkeypatch, count, number, name
):
    monkeypatch.setattr(models, "libraries", lambda: (Cuda(count), None))
    assert models.device(number) == name


@pytest.mark.parametrize(("count", "number"), [(0, 0), (2, 2), (2, "7")])
def test_missing_device_is_refused(monkeypatch, count, number):
    monkeypatch.setattr(models, "libraries", lambda: (Cuda(count), None))
    with pytest.raises(ValueError, match=rf"^cuda_device: .* the {count} CUDA devices .*; got {number}\."):
        models.device(number)


@pytest.mark.parametrize("number", [-1, "cpu", 1.5, True, [0]])
def test_invalid_device_number_is_refused(number):
    with pytest.raises(ValueError, match=r"^cuda_device: a whole number from 0; got "):
        models.device(number)


def test_model_is_a_name_or_a_directory(tmp_path, monkeypatch):
    assert models.name("suno/bark-small") == "suno/bark-small"
    assert models.name(str(tmp_path)) == str(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert models.name("./model") == models.name("~/model") == str(tmp_path / "model")


@pytest.mark.parametrize("value", ["/no/such/model", "./model", "~/model", "../no"])
def test_directory_that_does_not_exist_is_refused(monkeypatch, tmp_path, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"^model: there is no such directory; got "):
        models.name(value)


@pytest.mark.parametrize("value", ["", None, 3])
def test_invalid_model_name_is_refused(value):
    with pytest.raises(ValueError, match=r"^model: "):
        models.name(value)
