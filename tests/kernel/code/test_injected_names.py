"""owt.kernel.code.injected_names: the names that all code has in a kernel."""

from __future__ import annotations

from typing import Any

import owt
from owt.kernel.code import injected_names
from owt.kernel.endpoints.decorator import Decorator


def test_they_are_what_adaptors_may_import():
    names = injected_names.names({}, Decorator())
    assert set(owt.__all__) - set(names) == {"Client", "AsyncClient"}
    assert names["pipe"] is owt.pipe
    assert names["Server"] is owt.Server


def test_state_is_the_session_and_endpoint_is_its_own():
    namespace: dict[str, Any] = {"model": 1}
    endpoint = Decorator()
    names = injected_names.names(namespace, endpoint)
    names["state"].calls = names["state"].model + 1
    assert namespace == {"model": 1, "calls": 2}
    assert names["endpoint"] is endpoint
