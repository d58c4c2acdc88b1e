"""Tiny models that the code for real models loads, without downloads."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

# Set before the import of the library that reads it; kernels of a live server inherit it.
os.environ["HF_HUB_OFFLINE"] = "1"

import tiny_models
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "llm"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Use one thread: small models are slower in several."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bark(tmp_path_factory) -> str:
    """Return the directory of a Bark with two voices."""
    return tiny_models.bark(tmp_path_factory.mktemp("bark"))


@pytest.fixture(scope="session")
def parrot(tmp_path_factory) -> str:
    """Return the directory of a language model that repeats `TEXT` of the example's `parrot.py`."""
    directory = str(tmp_path_factory.mktemp("parrot"))
    runpy.run_path(str(EXAMPLE / "parrot.py"))["main"](directory)
    return directory


@pytest.fixture(scope="session")
def story() -> str:
    """Return the text that the parrot knows."""
    return runpy.run_path(str(EXAMPLE / "parrot.py"))["TEXT"]
