"""Models of the transformers library: loaded once in a kernel's life, on CUDA where there is one.

A loaded model stays in its kernel's memory; ending the session frees it.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from owt.errors import MissingExtra, shortened
from owt.lib import arguments

T = TypeVar("T")

_lock = threading.Lock()
_locks: dict[Hashable, threading.Lock] = {}
_made: dict[Hashable, Any] = {}


def once(key: Hashable, make: Callable[[], T]) -> T:
    """What `make()` gave when this was first called with this key.

    Threads that ask for the same key at the same time wait for the one that makes it; those that
    ask for another do not. If `make` raises, the next call tries again.
    """
    with _lock:
        lock = _locks.setdefault(key, threading.Lock())
    with lock:
        if key not in _made:
            _made[key] = make()
        return cast("T", _made[key])


def libraries() -> tuple[Any, Any]:
    """The modules torch and transformers. Raises `MissingExtra` where one is not installed."""
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("torch", "bark") from error
    # In a kernel tqdm looks for widgets and says that it misses them; a stream shows text.
    warnings.filterwarnings("ignore", "IProgress not found")
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "bark") from error
    return torch, transformers


def name(value: Any) -> str:
    """A model's name on the Hugging Face Hub, or the directory that holds one.

    Raises `ValueError` for what is neither a name nor an existing directory.
    """
    given = arguments.text("model", value)
    if given.startswith(("/", ".", "~")):
        directory = os.path.expanduser(given)
        if not os.path.isdir(directory):
            raise ValueError(f"model: there is no such directory; got {shortened(given)}")
        return os.path.abspath(directory)
    return given


def device(cuda_device: Any = None) -> str:
    """The name of the device to compute on, as torch knows it.

    None is the first CUDA device, and the CPU where there is none; a number is that CUDA device.
    Raises `ValueError` for one that this process cannot see, and as `libraries`.
    """
    wanted = None
    if cuda_device is not None:
        wanted = arguments.whole("cuda_device", cuda_device, "from 0", lambda n: n >= 0)
    torch, _ = libraries()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return "cuda:0" if count else "cpu"
    if wanted >= count:
        raise ValueError(
            f"cuda_device: the number of one of the {count} CUDA devices that this kernel sees, counted from"
            f" 0; got {wanted}. Leave it out to take what there is"
        )
    return f"cuda:{wanted}"
