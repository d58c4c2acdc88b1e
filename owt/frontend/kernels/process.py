"""Processes of kernels: a forked one, how the end of any is noticed, and what a kernel has started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from owt.frontend.kernels.exit import UNKNOWN_CODE

POLL_INTERVAL = 0.1
"""Seconds between two looks at a process where the system cannot notify (no pidfd: macOS)."""


class ForkedProcess:
    """A kernel that the template forked: the part of `subprocess.Popen` that a provisioner needs.

    It is identified by its pidfd where there is one, which no later process can take over. The template, its
    parent, reports its exit code.
    """

    stdin = stdout = stderr = None

    def __init__(
        self, pid: int, pidfd: int | None, wake_parent: Callable[[], None] = lambda: None
    ) -> None:
        """`wake_parent` continues a parent that a signal has stopped, so that it reports the exit code."""
        self._wake_parent = wake_parent
        self.pid = pid
        self.returncode: int | None = None
        self.args: list[str] = []
        self._pidfd = pidfd
        self._template_lost = False
        self._gone = asyncio.Event()
        self._exited = asyncio.Event()
        if pidfd is not None:
            asyncio.get_running_loop().add_reader(pidfd, self._on_gone)

    @property
    def pidfd(self) -> int | None:
        """Return the pidfd until the exit code is known; None where the system has none."""
        return self._pidfd

    def has_exited(self) -> bool:
        """Return True when the process is gone, though its exit code may not be known yet."""
        if self.returncode is not None:
            return True
        if self._pidfd is not None:
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            return bool(poll.poll(0))
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    async def wait_until_gone(self) -> None:
        """Wait until the process is gone, though its exit code may not be known yet."""
        await self._gone.wait()

    async def wait_for_code(self) -> int:
        """Wait for the exit code."""
        await self._exited.wait()
        return self.wait()

    def poll(self) -> int | None:
        """Return the exit code, or None while it is not known."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Callers poll first, so this never waits."""
        return UNKNOWN_CODE if self.returncode is None else self.returncode

    def send_signal(self, signum: int) -> None:
        """Send a signal to this process, never to one that took its id."""
        if self.returncode is not None or self.has_exited():
            return
        if self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd, signum)
        else:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def set_code(self, code: int) -> None:
        """Record the exit code that the template reports."""
        if self.returncode is None:
            self._on_gone()
            self.returncode = code
            self._exited.set()
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None

    def lose_template(self) -> None:
        """Record that the template is gone, so that the exit code will never be known."""
        self._template_lost = True
        self._poll_gone()

    def _poll_gone(self) -> None:
        if self.returncode is None and self.has_exited():
            self._on_gone()
        elif self._pidfd is None:
            asyncio.get_running_loop().call_later(POLL_INTERVAL, self._poll_gone)

    def _on_gone(self) -> None:
        if not self._gone.is_set():
            self._gone.set()
            self._wake_parent()
            if self._pidfd is not None:
                asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._template_lost and self.returncode is None:
            self._template_lost = False
            self.set_code(UNKNOWN_CODE)


def descendants(pid: int) -> list[int]:
    """Return the ids of all live processes that descend from this one by parents that live."""
    processes: list[int] = []
    pending = [pid]
    with contextlib.suppress(OSError, psutil.Error):
        while pending:
            children = _children(pending.pop())
            processes += children
            pending += children
    return processes


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        children = [Path(f"/proc/{pid}/task/{thread}/children").read_text().split() for thread in threads]
    except OSError:
        # This is not Linux, or a thread or the process has ended.
        return [child.pid for child in psutil.Process(pid).children()]
    return [int(child) for ids in children for child in ids]


def group_members(group: int) -> list[int]:
    """Return the ids of the processes of a process group."""
    members: list[int] = []
    try:
        # Most kernels leave none, and this takes no look at all processes.
        os.killpg(group, 0)
    except OSError:
        return members
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == group:
                members.append(pid)
    return members


def is_resource_tracker(pid: int) -> bool:
    """Return True for a resource tracker of multiprocessing or loky.

    It removes shared memory and other files when the processes that use them have ended, and ends then.
    """
    try:
        return any("resource_tracker" in part for part in psutil.Process(pid).cmdline())
    except (psutil.Error, OSError):
        return False


async def wait_until_gone(provisioner: Any) -> None:
    """Wait until the process of a `jupyter_client` provisioner is gone."""
    process = getattr(provisioner, "process", None)
    if isinstance(process, ForkedProcess):
        await process.wait_until_gone()
        return
    if isinstance(process, subprocess.Popen):
        try:
            pidfd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            pass
        else:
            await _readable(pidfd)
            return
    # No event tells: this is not Linux, or the provisioner is of another package.
    while provisioner.has_process and await provisioner.poll() is None:  # noqa: ASYNC110
        await asyncio.sleep(POLL_INTERVAL)


async def exit_code(provisioner: Any) -> int | None:
    """Return the exit code of the process of a provisioner, which is gone, as soon as it is known."""
    process = getattr(provisioner, "process", None)
    if isinstance(process, ForkedProcess):
        return await process.wait_for_code()
    code: int | None = await provisioner.poll()
    return code


async def _readable(descriptor: int) -> None:
    """Wait until a descriptor is readable, then close it."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
