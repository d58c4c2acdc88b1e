"""owt.lib.generate without a model; `tests/models` has one."""

import sys

import pytest

from owt.errors import MissingExtra
from owt.lib import generate

WRONG = [
    ({"prompt": ""}, r"^prompt: a string that is not empty, or messages such as "),
    ({"prompt": None}, r"^prompt: "),
    ({"prompt": []}, r"^prompt: "),
    ({"prompt": ["Hello!"]}, r"^prompt: "),
    ({"prompt": [{"role": "user"}]}, r"^prompt: "),
    ({"model": ""}, r"^model: "),
    ({"max_new_tokens": 0}, r"^max_new_tokens: a whole number from 1; got 0"),
    ({"temperature": -1}, r"^temperature: a number from 0; got -1"),
    ({"top_k": 0}, r"^top_k: a whole number from 1; got 0"),
    ({"top_p": 0}, r"^top_p: a number above 0, up to 1; got 0"),
    ({"top_p": 1.1}, r"^top_p: a number above 0, up to 1; got 1.1"),
    ({"min_p": 2}, r"^min_p: a number from 0 to 1; got 2"),
    ({"repetition_penalty": 0}, r"^repetition_penalty: a number above 0; got 0"),
    ({"do_sample": "maybe"}, r"^do_sample: true or false"),
    ({"do_sample": True, "temperature": 0}, r"^temperature: 0 is not sampling"),
    ({"do_sample": False, "top_k": 3}, r"^do_sample: false, and yet top_k: "),
    ({"seed": -1}, r"^seed: a whole number from 0; got -1"),
    ({"cuda_device": "gpu"}, r"^cuda_device: a whole number from 0; got 'gpu'"),
    ({"format": "json"}, r'^format: "sse" or "text"; got '),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_invalid_argument_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        generate.run(**{"prompt": "Hello", **wrong})


@pytest.mark.parametrize("package", ["torch", "transformers"])
def test_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"{package} is not .* pip install 'owt-server\[bark\]'"):
        generate.run("Hello")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, {}),
        ({"temperature": 0}, {"do_sample": False}),
        ({"temperature": 0, "top_k": 5}, {"do_sample": False}),
        ({"temperature": "0.5"}, {"do_sample": True, "temperature": 0.5}),
        ({"top_k": 5, "top_p": 0.9}, {"do_sample": True, "top_k": 5, "top_p": 0.9}),
        ({"min_p": 0.1, "do_sample": True}, {"do_sample": True, "min_p": 0.1}),
        ({"do_sample": False}, {"do_sample": False}),
        ({"do_sample": True}, {"do_sample": True}),
        ({"repetition_penalty": 1.2}, {"repetition_penalty": 1.2}),
    ],
)
def test_sampling_options_enable_sampling(arguments, options):
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "do_sample")
    assert generate._sampling(*(arguments.get(name) for name in names)) == options
