"""owt.frontend.api.input: posted input of runs, with scripted kernels."""

from __future__ import annotations

from typing import Any

import pytest
from pages_site import Control, with_control

from owt.testing.kernel import ScriptedKernel
from owt.wire.messages import Input, InputEnd

TEXT_HEADERS = {"Content_Type": "text/plain"}
JSON = {"Accept": "application/json"}


async def post(pages: Control, run: str, body: str | bytes = b"", query: str = "", **headers: str) -> Any:
    """Return the status and the document, or the type of the problem, of an item's response."""
    fields = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    status, document = await pages.ask(
        "POST", f"/_owt/runs/{run}/input{query}", content=body, headers=fields
    )
    return status, document.get("received", document.get("detail"))


def items(kernel: ScriptedKernel) -> list[Any]:
    """Return the input that the kernel has received, as messages of adaptors and ends."""
    return [
        (message.data.decode() if message.text else message.data) if isinstance(message, Input) else "END"
        for message in kernel.messages
        if isinstance(message, Input | InputEnd)
    ]


@with_control()
async def test_posted_items_reach_the_adaptor_in_order_and_once(pages: Control) -> None:
    run = pages.submit(session="a")
    kernel = await pages.kernels.wait_for_kernel(1)
    assert await post(pages, run.id, "é", Content_Type="text/plain; charset=utf-8") == (200, 1)
    assert await post(pages, run.id, b"2", Owt_Input="2", Content_Type="image/png") == (200, 2)
    kernel.request_input()
    for _ in range(2):
        assert await post(pages, run.id, b"3", Owt_Input="3") == (200, 3)
    assert await post(pages, run.id, b"", Owt_Input="4") == (200, 4)
    assert await post(pages, run.id, "last", "?end=1", Owt_Input="5", **TEXT_HEADERS) == (200, 5)
    assert await post(pages, run.id, "last", "?end=1", Owt_Input="5", **TEXT_HEADERS) == (200, 5)
    assert await post(pages, run.id, query="?end=1") == (200, 5)
    assert items(kernel) == ["é", b"2", b"3", b"", "last", "END"]
    kernel.answer()
    # Its response may have been lost.
    assert await post(pages, run.id, b"3", Owt_Input="3") == (200, 5)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("text/csv", "1,2"),
        ("application/json", "1,2"),
        ("application/ld+json; charset=utf-8", "1,2"),
        ("application/x-www-form-urlencoded", "1,2"),
        ("application/octet-stream", b"1,2"),
        ("", b"1,2"),
    ],
)
def test_the_content_type_says_whether_an_item_is_text(kind: str, item: str | bytes) -> None:
    @with_control()
    async def check(pages: Control) -> None:
        run = pages.submit(session="a")
        kernel = await pages.kernels.wait_for_kernel(1)
        kernel.request_input()
        assert await post(pages, run.id, b"1,2", Content_Type=kind) == (200, 1)
        assert items(kernel) == [item]

    check()


@with_control(window=16 * 1024)
async def test_refused_items_change_nothing(pages: Control) -> None:
    run = pages.submit(session="a")
    kernel = await pages.kernels.wait_for_kernel(1)
    window = pages.service.settings.window

    async def refused(*args: Any, **headers: str) -> tuple[int, str]:
        status, detail = await post(pages, *args, **headers)
        assert (run.input.received if run.input else 0) == 1
        return status, detail

    assert await post(pages, run.id, b"1") == (200, 1)
    assert await refused(run.id, b"3", Owt_Input="3") == (
        409, f"the next item of run {run.id} has the number 2 (header Owt-Input)",
    )
    assert (await refused(run.id, bytes(window + 1)))[0] == 413
    status, detail = await refused(run.id, bytes(window))
    assert (status, "send this item again later" in detail) == (429, True)
    assert (await refused(run.id, b"\xff", Content_Type="text/plain"))[0] == 400
    for value in ("0", "-1", "1.5", "x"):
        assert (await refused(run.id, b"2", Owt_Input=value))[0] == 400
    assert (await refused(run.id, b"2", "?end=maybe"))[0] == 400
    assert (await refused(run.id, b"2", "?ned=1"))[0] == 400
    assert (await refused("unknown", b"2"))[0] == 404
    kernel.request_input()
    assert items(kernel) == [b"1"]
    # The adaptor has taken the first.
    assert await post(pages, run.id, bytes(window)) == (200, 2)
    assert await post(pages, run.id, query="?end=1") == (200, 2)
    status, detail = await post(pages, run.id, b"late")
    assert (status, detail) == (409, f"the input of run {run.id} has ended")
    kernel.answer()
    assert await post(pages, run.id, b"late") == (409, f"run {run.id} has ended")
    assert await post(pages, run.id, query="?end=1") == (409, f"run {run.id} has ended")


@with_control()
async def test_a_run_that_never_had_input_says_that_it_has_ended(pages: Control) -> None:
    run = pages.submit(session="a")
    (await pages.kernels.wait_for_kernel(1)).answer()
    assert await post(pages, run.id, b"late") == (409, f"run {run.id} has ended")
    assert run.input is None


@with_control()
async def test_input_of_another_users_run_is_refused(pages: Control) -> None:
    run = pages.submit("ada", session="a")
    assert (await post(pages, run.id, b"1"))[0] == 404
    assert run.input is None


@with_control()
async def test_a_body_is_the_only_input_of_its_run(pages: Control) -> None:
    run = pages.submit(session="a")
    run.open_input().is_body = True
    assert await post(pages, run.id, b"1") == (
        409, f"the input of run {run.id} is the body of its request",
    )
    assert await post(pages, run.id, query="?end=1") == (
        409, f"the input of run {run.id} is the body of its request",
    )


@with_control()
async def test_posted_items_wait_for_a_call_that_is_queued(pages: Control) -> None:
    pages.submit(session="a")
    run = pages.submit(session="a")
    kernel = await pages.kernels.wait_for_kernel(1)
    assert await post(pages, run.id, b"early", "?end=1") == (200, 1)
    kernel.answer()
    assert items(kernel) == []
    kernel.request_input()
    assert items(kernel) == [b"early", "END"]
