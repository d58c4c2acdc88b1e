"""The magics `%owt` and `%%owt`, and completion of their lines."""

from __future__ import annotations

import getpass
import json
import os
import re
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from owt.client import Client
from owt.client.events import is_prompt
from owt.errors import CannotSend, OwtError, RemoteError
from owt.jupyter import commands, tracebacks
from owt.jupyter.commands import evaluate, split_words
from owt.jupyter.connection import Connection, NotebookServer
from owt.jupyter.output_items import ChunkReader, End, OutputItem, ResultCollector, RunInfo, item_of_event
from owt.jupyter.renderer import Renderer
from owt.server import Server
from owt.wire.call import Call, RequestFacts

if TYPE_CHECKING:
    from owt.kernel.calls.local_runner import LocalRunner

FIRST_LINE = 2
"""Line of a cell at which the code begins, after the magic's own line."""
RESULT = "_owt"
"""Variable that contains the result of the last `%%owt`."""


class Magics:
    """State of `%owt` and `%%owt` in one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.connection: Connection | None = None
        self.server: NotebookServer | None = None
        self._local: LocalRunner | None = None

    def line(self, line: str) -> None:
        """Run `%owt`: see `owt.jupyter.commands.connect`."""
        try:
            words = split_words(line)
            if words[:1] == ["serve"]:
                self._serve(commands.parse(commands.serve, words[1:]))
            else:
                self._connect(commands.parse(commands.connect, words))
        except OwtError as error:
            raise tracebacks.plain(error, self.shell) from None

    def cell(self, line: str, cell: str) -> None:
        """Run `%%owt`: see `owt.jupyter.commands.run`."""
        try:
            command = commands.parse(commands.run, split_words(line))
            kwargs = evaluate(list(command.arguments), self.shell.user_ns)
        except OwtError as error:
            raise tracebacks.plain(error, self.shell) from None
        output = _Output(None if command.quiet else self._renderer())
        try:
            if command.local:
                self._run_local(command, cell, kwargs, output)
            else:
                self._run_remote(command, cell, kwargs, output)
        finally:
            self.shell.user_ns[RESULT] = output.result.value

    def connected(self) -> Connection:
        """Return the notebook's connection; by default one to the current server."""
        if self.connection is None:
            self.connection = _connection(commands.parse(commands.connect, []), None)
        return self.connection

    # %owt

    def _connect(self, command: commands.Connect) -> None:
        if command.words == ("stop",):
            self._stop()
        elif command.words or command.has_credentials:
            self._use(_connection(command, self.connection))
        elif command.session is not None:
            self._use(replace(self.connected(), session=command.session or None))
        else:
            print(self.connected().description())

    def _use(self, connection: Connection) -> None:
        description = connection.description()
        before, self.connection = self.connection, connection
        if before is not None and before.client is not connection.client:
            before.client.close()
        if _channel(self.shell) is None:
            # `Client()`, !owt and !curl "$OWT_URL" use this server too; a server's own kernel keeps its own.
            os.environ["OWT_URL"] = connection.url
            server = Server.from_url(connection.url)
            Server.announce(server.url, server.address, server.port)
        print(description)

    def _serve(self, command: commands.Serve) -> None:
        server = self.server
        # The notebook's first cell may run again.
        if server is None or not server.is_running or server.options != command.options:
            if server is not None:
                server.stop()
            server = self.server = NotebookServer(command.options)
        try:
            self._use(Connection(Client(server.url, token=server.token), command.session or None))
        except RemoteError as error:
            # The options contain the hash of a password, and not the password.
            error.add_note(f"The server serves on {server.url}")
            raise

    def _stop(self) -> None:
        if self.server is None:
            raise CannotSend("stop: this notebook has started no server; %owt serve does")
        server, self.server = self.server, None
        server.stop()
        if self.connection is not None and self.connection.url == server.url:
            self.connection = None
        print(f"the server at {server.url} has ended")

    # %%owt

    def _run_remote(self, command: commands.Run, cell: str, kwargs: dict[str, Any], output: _Output) -> None:
        run = where = ""
        try:
            connection = self.connected()
            options = {"session": connection.session, **command.options}
            session = options["session"] = options["session"] or None
            self._check_session(connection.url, session)
            where = f"on {connection.url}" + (f", session {session}" if session else "")
            client = connection.client.with_options(**options)
            info = RunInfo(client.run)
            with closing(client.stream(cell, **kwargs)) as events:
                for event in events:
                    run = info.run = run or event.id.rpartition("-")[0]
                    if is_prompt(event):
                        client.answer(event, _answer(**event.data))
                        continue
                    if (item := item_of_event(event, info)) is not None:
                        output.add(item)
            output.end()
        except KeyboardInterrupt:
            output.end()
            message = f"the {f'run {run}' if run else 'call'} was cancelled, {where}"
            raise tracebacks.plain(KeyboardInterrupt(message), self.shell) from None
        except RemoteError as error:
            output.end()
            raise tracebacks.remote(error, cell, FIRST_LINE, where, self.shell) from None
        except OwtError as error:
            output.end()
            raise tracebacks.plain(error, self.shell) from None

    def _check_session(self, url: str, session: str | None) -> None:
        """Raise `CannotSend` for the session of this cell, whose calls wait until the cell ends."""
        channel = _channel(self.shell)
        if channel and session and (channel.session, Server.current().url) == (session, url):
            raise CannotSend(
                f"--session: this notebook runs in session {session} itself, where calls wait for its cell; "
                "run it here with --local, or in another session"
            )

    def _run_local(self, command: commands.Run, cell: str, kwargs: dict[str, Any], output: _Output) -> None:
        from owt.client.options import Options
        from owt.client.request import call_fields
        from owt.kernel.calls.local_runner import LocalRunner

        if self._local is None:
            self._local = LocalRunner(self.shell)
        chunks = ChunkReader()

        def show(chunk: Any) -> None:
            for item in chunks.feed(chunk):
                output.add(item)

        try:
            fields = call_fields(cell, kwargs, Options(**command.options))
        except OwtError as error:
            raise tracebacks.plain(error, self.shell) from None
        ended = self._local.run(_call(fields), show)
        output.add(End(ended.status if ended.error is None else 200))
        output.end()
        if ended.error is not None:
            raise tracebacks.local(ended.error, ended.error.__traceback__, self.shell)

    def _renderer(self) -> Renderer:
        if getattr(self.shell, "kernel", None) is not None:
            from owt.jupyter.display import NotebookRenderer

            return NotebookRenderer()
        from owt.jupyter.terminal import TerminalRenderer

        return TerminalRenderer()

    # Completion: options, sessions, and variables after a `$`

    def complete_line(self, shell: Any, event: Any) -> list[str]:
        """Return completions after `%owt`."""
        words = [] if event.symbol.startswith("-") else ["serve", "stop"]
        return self._sessions(event) or commands.option_names(commands.connect) + words

    def complete_cell(self, shell: Any, event: Any) -> list[str]:
        """Return completions after `%%owt`."""
        if match := re.search(r"\$(\w*)$", event.text_until_cursor):
            names = [name for name in shell.user_ns if name.startswith(match[1]) and name[:1] != "_"]
            # The symbol that is completed begins with the $ or after it.
            prefix = event.symbol.rpartition("$")[0] + ("$" if "$" in event.symbol else "")
            return [f"{prefix}{name}" for name in sorted(names)]
        return self._sessions(event) or commands.option_names(commands.run)

    def _sessions(self, event: Any) -> list[str]:
        if not re.search(r"(--session|-s)[ =]\S*$", event.text_until_cursor):
            return []
        try:
            return [] if self.connection is None else self.connection.session_names()
        except OwtError:
            return []


class _Output:
    """Output of one cell: shown at once, unless the cell is quiet, and collected for the result."""

    def __init__(self, renderer: Renderer | None) -> None:
        self.result = ResultCollector()
        self._renderer = renderer

    def add(self, item: OutputItem) -> None:
        self.result.add(item)
        if self._renderer is not None:
            self._renderer.show(item)

    def end(self) -> None:
        if self._renderer is not None:
            self._renderer.end()


def _answer(prompt: str, password: bool) -> str | None:
    """Return what the notebook's user answers; None if the notebook cannot ask."""
    try:
        return getpass.getpass(prompt) if password else input(prompt)
    except (EOFError, NotImplementedError):
        # The second is IPython's, for a cell that runs without a user.
        return None


def _channel(shell: Any) -> Any:
    """Return the call channel of a kernel that an owt server started, or None."""
    return getattr(getattr(shell, "kernel", None), "channel", None)


def _connection(command: commands.Connect, before: Connection | None) -> Connection:
    """Return a new connection. Without a URL it is to the server of `before`, by default in its session."""
    if len(command.words) > 1:
        raise CannotSend(f"give one URL; got {' '.join(command.words)}")
    url, session = command.words[0] if command.words else None, command.session
    if url is None and before is not None:
        url = before.url
        session = before.session if session is None else session
    return Connection(Client(url, auth=command.auth, token=command.token), session or None)


def _call(fields: dict[str, Any]) -> Call:
    """Return the call of these fields, as a POST to / carries it."""
    return Call(
        RequestFacts("POST", "/", "", (), b"", "localhost", remote="local"),
        code=fields["code"],
        kwargs=json.dumps(fields["kwargs"]) if "kwargs" in fields else None,
        fn_name=fields.get("fn_name"),
        reload=bool(fields.get("reload")),
        sse=True,
    )
