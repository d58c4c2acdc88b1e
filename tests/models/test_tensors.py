"""Tensors of torch as answers, as arguments, and as what the Python client sends."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from value_answers import answer

from owt.client import Client
from owt.errors import RemoteError
from owt.testing import LiveServer
from owt.wire.media import NPY

JSON = "application/json"
HALF = torch.tensor([0.5, 2.0], dtype=torch.bfloat16)
TENSORS: dict[str, tuple[torch.Tensor, Any, str]] = {
    "integers": (torch.arange(4).reshape(2, 2), [[0, 1], [2, 3]], "int64"),
    "transposed": (torch.arange(4).reshape(2, 2).T, [[0, 2], [1, 3]], "int64"),
    "number": (torch.tensor(3.5), 3.5, "float32"),
    "boolean": (torch.tensor(True), True, "bool"),
    "empty": (torch.zeros(0), [], "float32"),
    "missing": (torch.tensor([1.0, float("nan")]), [1.0, None], "float32"),
    "bfloat16": (HALF, [0.5, 2.0], "float32"),
    "bfloat16 number": (HALF[0], 0.5, "float32"),
    "float8": (torch.ones(1, dtype=torch.float8_e4m3fn), [1.0], "float32"),
    "float16": (torch.ones(1).half(), [1.0], "float16"),
    "gradient": (torch.ones(2, requires_grad=True), [1.0, 1.0], "float32"),
    "result": (torch.ones(2, requires_grad=True) * 2, [2.0, 2.0], "float32"),
    "parameter": (torch.nn.Parameter(torch.ones(1)), [1.0], "float32"),
    "complex": (torch.tensor([1 + 2j]), ["1+2j"], "complex64"),
    "conjugate": (torch.tensor([1 + 2j]).conj(), ["1-2j"], "complex64"),
    "negative": (torch.tensor([1 + 2j]).conj().imag, [-2.0], "float32"),
    "sparse": (torch.eye(2).to_sparse(), [[1.0, 0.0], [0.0, 1.0]], "float32"),
}
ENDPOINTS = """
import torch

@endpoint("/tensor")
def tensor(x: torch.Tensor) -> list:
    return [type(x).__name__, str(x.dtype), x.tolist()]

@endpoint("/tensors")
def tensors(xs: list[torch.Tensor], scale: torch.Tensor | None = None) -> torch.Tensor:
    return torch.stack(xs).float().requires_grad_() * (1 if scale is None else scale)
"""


@pytest.mark.parametrize(("tensor", "document", "dtype"), TENSORS.values(), ids=TENSORS)
def test_a_tensor_is_a_document_or_an_npy_file(tensor: torch.Tensor, document: object, dtype: str) -> None:
    for accept in "*/*", JSON:
        headers, body = answer(tensor, accept)
        assert (headers["Content-Type"], headers["Owt-Value"]) == (JSON, "array")
        assert json.loads(body) == document
    headers, body = answer(tensor, f"{NPY}, {JSON};q=0.9")
    assert (headers["Content-Type"], headers["Owt-Value"]) == (NPY, "array")
    array = np.load(io.BytesIO(body))
    assert (str(array.dtype), array.shape) == (dtype, tuple(tensor.shape))
    numbers = [complex(item) if isinstance(item, str) else item for item in np.atleast_1d(document).tolist()]
    np.testing.assert_array_equal(np.atleast_1d(array), np.array(numbers, array.dtype))


@pytest.mark.parametrize(
    ("value", "document"),
    [
        ([torch.ones(2), torch.tensor(1)], [[1.0, 1.0], 1]),
        ({"loss": torch.tensor(0.5, requires_grad=True), "x": HALF}, {"loss": 0.5, "x": [0.5, 2.0]}),
        (torch.tensor([[1, 5]]).max(dim=1), [[5], [1]]),
        (torch.Size([1, 2]), [1, 2]),
        (torch.nn.Linear(1, 1, dtype=torch.bfloat16).state_dict() | {"weight": HALF[:1], "bias": HALF}, None),
    ],
    ids=["list", "dict", "maximum", "size", "state"],
)
def test_tensors_in_other_values_are_parts_of_the_document(value: object, document: object) -> None:
    assert json.loads(answer(value, JSON)[1]) == document or document is None


@pytest.fixture(scope="module")
def served(server: LiveServer) -> Any:
    """Define endpoints with tensors in a session of the shared server."""
    assert server.call(ENDPOINTS, session="tensors").status_code == 200
    yield server
    server.ask("DELETE", "/_owt/sessions/tensors")


@pytest.mark.parametrize("name", TENSORS)
def test_the_client_sends_a_tensor_to_a_parameter_of_this_type(served: LiveServer, name: str) -> None:
    tensor, document, dtype = TENSORS[name]
    with Client(f"{served.url}/tensor") as client:
        kind, received, values = client.call(x=tensor)
    assert (kind, received) == ("Tensor", f"torch.{dtype}")
    assert values == document


@pytest.mark.parametrize(
    ("value", "dtype"), [([1, 2.5], "float32"), ([[1], [2]], "int64"), (3, "int64"), ([True], "bool")]
)
def test_json_is_a_tensor_of_its_numbers(served: LiveServer, value: object, dtype: str) -> None:
    with Client(f"{served.url}/tensor") as client:
        assert client.call(x=value) == ["Tensor", f"torch.{dtype}", value]


@pytest.mark.parametrize("value", [[[1], [2, 3]], "abc", None, {}, ["a"]])
def test_another_value_than_tensors_is_refused_by_its_name(served: LiveServer, value: object) -> None:
    refused = pytest.raises(RemoteError, match="x: expected an array")
    with Client(f"{served.url}/tensor") as client, refused as error:
        client.call(x=value)
    assert error.value.status == 422


def test_a_list_of_tensors_is_converted_and_the_result_is_an_array(served: LiveServer) -> None:
    with Client(f"{served.url}/tensors") as client:
        assert client.call(xs=[[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
        assert client.call(xs=[[1.0]], scale=torch.tensor(0.5)).tolist() == [[0.5]]
