"""Private attributes of ipykernel, IPython, traitlets and asyncio that owt uses.

Each test fails when a release changes one of them. Its message names the code of owt to look at. The upper
bounds in pyproject.toml keep such a release away until then; `make test-newest` runs these tests with the
newest ones.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import zmq
from ipykernel.iostream import IOPubThread
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.shellapp import InteractiveShellApp
from traitlets.config import SingletonConfigurable

IOPUB = "owt/kernel/calls/iopub.py, IopubMirror.watch: how subscriptions to IOPub are watched"
JOIN = "owt/kernel/process/kernel.py, OwtKernel._join: how a prepared kernel gets its sockets"
CODE = "owt/kernel/process/app.py, OwtKernelApp.init_code: what a prepared kernel runs at its start"
INSTANCE = "owt/kernel/process/kernel.py, become_instance: how traitlets knows the one instance"
STREAMS = "owt/kernel/calls/stdio.py, RunStream.__init__: where ipykernel's app sends its log"
LOOPS = "owt/kernel/calls/interrupts.py, RunningLoop: how user code runs an event loop of its own"


def assert_unchanged(holds: bool, place: str) -> None:
    """Fail with the place in owt that depends on what has changed."""
    assert holds, f"a library has changed; look at {place}"


def source(function: Callable[..., Any]) -> str:
    return inspect.getsource(function)


def test_the_thread_of_iopub_has_its_stream_and_a_handler_of_subscriptions() -> None:
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        thread = IOPubThread(socket)
        try:
            assert_unchanged(hasattr(thread, "_xpub_stream") or "_xpub_stream" in source(IOPubThread), IOPUB)
            assert_unchanged(list(inspect.signature(thread._handle_subscription).parameters) != [], IOPUB)
        finally:
            thread._event_puller.close()
            thread.io_loop.close()
    assert_unchanged("on_recv(self._handle_subscription)" in source(IOPubThread), IOPUB)


@pytest.mark.parametrize("argument", ["self._publish_debug_event", "self._kernel_modules"])
def test_a_kernel_passes_its_debugger_what_a_prepared_kernel_passes(argument: str) -> None:
    assert_unchanged(argument in source(IPythonKernel.__init__), JOIN)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_kernel_keeps_the_streams_of_its_process(name: str) -> None:
    assert_unchanged(re.search(rf"self\._{name}\b.*= sys\.{name}", source(Kernel.__init__)) is not None, JOIN)


def test_starting_code_is_run_by_these_methods_in_this_order() -> None:
    methods = re.findall(r"self\.(_run_\w+)\(", source(InteractiveShellApp.init_code))
    names = ["startup_files", "exec_lines", "exec_files", "cmd_line_code", "module"]
    assert_unchanged(methods == [f"_run_{name}" for name in names], CODE)


def test_the_app_records_the_modules_in_the_shell() -> None:
    assert_unchanged("self.shell._sys_modules_keys = set(" in source(InteractiveShellApp.init_code), CODE)
    assert_unchanged("self._sys_modules_keys" in source(InteractiveShell.reset), CODE)


def test_traitlets_keeps_the_instance_of_a_singleton_in_each_of_its_classes() -> None:
    class Parent(SingletonConfigurable):
        pass

    class Child(Parent):
        pass

    child = Child.instance()
    assert_unchanged((Parent._instance, Child._instance) == (child, child), INSTANCE)
    assert_unchanged(SingletonConfigurable._instance is None, INSTANCE)


def test_the_app_sends_its_log_past_a_redirected_stream() -> None:
    text = source(IPKernelApp.init_io)
    assert_unchanged('hasattr(sys.stderr, "_original_stdstream_copy")' in text, STREAMS)


def test_asyncio_lets_the_running_loop_and_its_task_be_hidden() -> None:
    async def hide() -> tuple[object, object]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        asyncio._leave_task(loop, task)
        asyncio._set_running_loop(None)
        try:
            return asyncio._get_running_loop(), asyncio.current_task(loop)
        finally:
            asyncio._set_running_loop(loop)
            asyncio._enter_task(loop, task)

    assert_unchanged(asyncio.run(hide()) == (None, None), LOOPS)
