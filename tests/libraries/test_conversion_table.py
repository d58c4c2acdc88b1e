"""The rows of the table of conversions that need large libraries."""

from __future__ import annotations

from collections.abc import Iterator

import conversions
import pytest
from conversion_clients import Collector, set_up

from owt.testing import LiveServer


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    groups = [group for group in conversions.GROUPS if group.libraries]
    with LiveServer() as server, set_up(server, groups) as collector:
        yield collector


@pytest.mark.parametrize("client", conversions.CLIENTS)
def test_each_client_receives_what_the_table_says(collector: Collector, client: str) -> None:
    assert collector.differences(client) == {}
