"""Models, loaded once a kernel; those of the transformers library on CUDA if available.

A loaded model stays in the kernel's memory; ending the session frees it.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import Any, TypeVar, cast

from owt.errors import MissingExtra, shortened
from owt.lib import arguments

T = TypeVar("T")

_lock = threading.Lock()
_locks: dict[Hashable, threading.Lock] = {}
_objects: dict[Hashable, Any] = {}


def once(key: Hashable, make: Callable[[], T]) -> T:
    """Return the result of `make()`, which is called once for each key.

    Concurrent threads with the same key wait for the one that calls `make`; those with another key do
    not. If `make` raises, the next call tries again.
    """
    with _lock:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        if key not in _objects:
            _objects[key] = make()
        return cast("T", _objects[key])


def imported(module: str, package: str, extra: str) -> Any:
    """Return a module of this package. Raises `MissingExtra` if it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(package, extra) from error


def libraries() -> tuple[Any, Any]:
    """Return the modules torch and transformers. Raises `MissingExtra` if one is not installed."""
    torch = imported("torch", "torch", "bark")
    # In a kernel tqdm warns about missing widgets; a stream shows text.
    warnings.filterwarnings("ignore", "IProgress not found")
    return torch, imported("transformers", "transformers", "bark")


def name(value: Any) -> str:
    """Return a model's name on the Hugging Face Hub, or the absolute path of its directory.

    Raises `ValueError` for a value that is neither a name nor an existing directory.
    """
    text = arguments.text("model", value)
    if text.startswith(("/", ".", "~")):
        directory = os.path.expanduser(text)
        if not os.path.isdir(directory):
            raise ValueError(f"model: there is no such directory; got {shortened(text)}")
        return os.path.abspath(directory)
    return text


def device(cuda_device: Any = None) -> str:
    """Return torch's name of the device to compute on.

    None is the first CUDA device, or the CPU if there is none; a number is that CUDA device. Raises
    `ValueError` for one that this process cannot see, and the exceptions of `libraries`.
    """
    index = None
    if cuda_device is not None:
        index = arguments.whole("cuda_device", cuda_device, "from 0", lambda n: n >= 0)
    torch, _ = libraries()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if index is None:
        return "cuda:0" if count else "cpu"
    if index >= count:
        raise ValueError(
            f"cuda_device: the number of one of the {count} CUDA devices that this kernel sees, counted from"
            f" 0; got {index}. Leave it out for the default"
        )
    return f"cuda:{index}"
