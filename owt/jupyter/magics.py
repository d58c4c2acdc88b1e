"""The magics `%owt` and `%%owt`."""

from __future__ import annotations

import json
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any

from owt.errors import CannotSend, OwtError, RemoteError
from owt.jupyter import commands, tracebacks
from owt.jupyter.arguments import arguments, split
from owt.jupyter.connection import Connection, NotebookServer
from owt.jupyter.output_items import Chunks, Over, of_event
from owt.jupyter.renderer import Nothing, Screen
from owt.jupyter.result import Received
from owt.jupyter.run_info import RunFacts
from owt.server import Server
from owt.wire.call import Call, RequestFacts

if TYPE_CHECKING:
    from owt.kernel.calls.local_runner import LocalRunner

FIRST_LINE = 2
"""The line of a cell at which the code begins; the magic has the first one."""
VALUE = "_owt"
"""The variable that has the value of the last `%%owt`."""


class Magics:
    """What `%owt` and `%%owt` do in one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.connection: Connection | None = None
        self.own: NotebookServer | None = None
        self._here: LocalRunner | None = None

    # %owt ------------------------------------------------------------------------------------------

    def line(self, line: str) -> None:
        """`%owt`: see `owt.jupyter.commands.connect`."""
        try:
            words = split(line)
            if words[:1] == ["serve"]:
                self._serve(commands.parsed(commands.serve, words[1:]))
            else:
                self._connect(commands.parsed(commands.connect, words))
        except OwtError as error:
            raise tracebacks.plain(error, self.shell) from None

    def connected(self) -> Connection:
        """What the notebook is connected to; without a word on that, where clients look for a server."""
        if self.connection is None:
            self.connection = _connection(commands.parsed(commands.connect, []), None)
        return self.connection

    def _connect(self, asked: commands.Connect) -> None:
        if asked.words == ("stop",):
            self._stop()
        elif asked.words or asked.identified:
            self._use(_connection(asked, self.connection))
        elif asked.session is not None:
            self._use(self.connected().with_session(asked.session or None))
        else:
            print(self.connected().description())

    def _use(self, connection: Connection) -> None:
        told = connection.description()
        before, self.connection = self.connection, connection
        if before is not None and before.client is not connection.client:
            before.client.close()
        if _channel(self.shell) is None:
            # `Client()`, !owt and !curl "$OWT_URL" mean the same server; in a kernel of a server's, its own.
            os.environ["OWT_URL"] = connection.url
            here = Server.from_url(connection.url)
            Server.announce(here.url, here.address, here.port)
        print(told)

    def _serve(self, asked: commands.Serve) -> None:
        own = self.own
        # The notebook's first cell may be run again.
        if own is None or not own.is_running or own.options != asked.options:
            if own is not None:
                own.stop()
            own = self.own = NotebookServer(asked.options)
        try:
            self._use(Connection.to(own.url, asked.session or None, token=own.token))
        except RemoteError as error:
            # It wants a password, of which it has but the hash.
            error.add_note(f"The server serves on {own.url}")
            raise

    def _stop(self) -> None:
        if self.own is None:
            raise CannotSend("stop: this notebook has started no server; %owt serve does")
        own, self.own = self.own, None
        own.stop()
        if self.connection is not None and self.connection.url == own.url:
            self.connection = None
        print(f"the server at {own.url} has ended")

    # %%owt -----------------------------------------------------------------------------------------

    def cell(self, line: str, cell: str) -> None:
        """`%%owt`: see `owt.jupyter.commands.run`."""
        try:
            asked = commands.parsed(commands.run, split(line))
            kwargs = arguments(list(asked.arguments), self.shell.user_ns)
        except OwtError as error:
            raise tracebacks.plain(error, self.shell) from None
        screen = Nothing() if asked.quiet else self._screen()
        received = Received()
        try:
            if asked.local:
                self._run_here(asked, cell, kwargs, screen, received)
            else:
                self._run_there(asked, cell, kwargs, screen, received)
        finally:
            self.shell.user_ns[VALUE] = received.value

    def _run_there(
        self, asked: commands.Run, cell: str, kwargs: dict[str, Any], screen: Screen, received: Received
    ) -> None:
        run = ""
        where = ""
        try:
            connection = self.connected()
            options = {"session": connection.session, **asked.options}
            session = options["session"] = options["session"] or None
            self._check_elsewhere(connection.url, session)
            where = f"on {connection.url}" + (f", session {session}" if session else "")
            client = connection.client.with_options(**options)
            facts = RunFacts(client)
            with closing(client.stream(cell, **kwargs)) as events:
                for event in events:
                    run = facts.run = run or event.id.rpartition("-")[0]
                    piece = of_event(event, facts)
                    if piece is not None:
                        received.add(piece)
                        screen.show(piece)
            screen.end()
        except KeyboardInterrupt:
            screen.end()
            ended = f"the run {run} was cancelled, {where}" if run else f"the call was cancelled, {where}"
            raise tracebacks.plain(KeyboardInterrupt(ended), self.shell) from None
        except RemoteError as error:
            screen.end()
            raise tracebacks.remote(error, cell, FIRST_LINE, where, self.shell) from None
        except OwtError as error:
            screen.end()
            raise tracebacks.plain(error, self.shell) from None

    def _check_elsewhere(self, url: str, session: str | None) -> None:
        """Raise `CannotSend` for the session that this very cell runs in: its calls wait for it to end."""
        channel = _channel(self.shell)
        if (
            channel is not None
            and session is not None
            and (channel.session, Server.sing().url) == (session, url)
        ):
            raise CannotSend(
                f"--session: this notebook is on session {session} itself, where calls wait for its cell; "
                "run it here with --local, or in another session"
            )

    def _run_here(
        self, asked: commands.Run, cell: str, kwargs: dict[str, Any], screen: Screen, received: Received
    ) -> None:
        from owt.client.options import Options
        from owt.client.request import call_fields
        from owt.kernel.calls.local_runner import LocalRunner

        if self._here is None:
            self._here = LocalRunner(self.shell)
        chunks = Chunks()

        def show(chunk: Any) -> None:
            for piece in chunks.feed(chunk):
                received.add(piece)
                screen.show(piece)

        try:
            fields = call_fields(cell, kwargs, Options(**asked.options))
        except OwtError as error:
            raise tracebacks.plain(error, self.shell) from None
        ended = self._here.run(_call(fields), show)
        screen.show(Over(ended.status if ended.error is None else 200))
        screen.end()
        if ended.error is not None:
            raise tracebacks.local(ended.error, ended.error.__traceback__, self.shell)

    def _screen(self) -> Screen:
        if getattr(self.shell, "kernel", None) is not None:
            from owt.jupyter.display import Notebook

            return Notebook()
        from owt.jupyter.terminal import Terminal

        return Terminal()


def _channel(shell: Any) -> Any:
    """Of a kernel that a server has started, how calls come to it; else None."""
    return getattr(getattr(shell, "kernel", None), "channel", None)


def _connection(asked: commands.Connect, before: Connection | None) -> Connection:
    """What is asked for. Without a URL it is the server from before, and its session unless one is named."""
    if len(asked.words) > 1:
        raise CannotSend(f"give one URL; got {' '.join(asked.words)}")
    url, session = asked.words[0] if asked.words else None, asked.session
    if url is None and before is not None:
        url = before.url
        session = before.session if session is None else session
    return Connection.to(url, session or None, asked.auth, asked.token)


def _call(fields: dict[str, Any]) -> Call:
    """The call that these fields are, as one that has come by a POST to /."""
    facts = RequestFacts("POST", "/", "", (), b"", "localhost", remote="local")
    kwargs = json.dumps(fields["kwargs"]) if "kwargs" in fields else None
    return Call(
        facts, code=fields["code"], kwargs=kwargs, fn_name=fields.get("fn_name", "run"),
        reload=bool(fields.get("reload")), sse=True,
    )  # fmt: skip
