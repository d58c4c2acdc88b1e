"""Development of an endpoint in a notebook on the kernel that serves it (docs/how-to/jupyterlab.md)."""

from channels_client import ROOT, ChannelsClient, state

from owt.testing import wait_until

MODEL = "loads = globals().get('loads', 0) + 1\nmodel = str.upper"
SPEAK = '@endpoint("/{name}/speak")\ndef speak(text: str) -> str:\n    return {what}\n'


def test_function_is_developed_in_a_notebook_while_clients_call_it(server, session):
    request = {"path": f"{session}.ipynb", "type": "notebook", "kernel": {"name": "owt"}}
    created = server.ask("POST", f"{ROOT}/api/sessions", json=request).json()

    def speak():
        return server.ask("GET", f"/{session}/speak?text=hi")

    def cell(what):
        return SPEAK.format(name=session, what=what)

    with ChannelsClient(server, created["kernel"]["id"]) as notebook:
        notebook.run(MODEL)
        notebook.run(cell("model(text)"))
        assert speak().text == "HI"

        notebook.run(cell("model(text) + '!'"))
        assert speak().text == "HI!"
        assert notebook.run("print(loads)") == "1\n"

        notebook.run(cell("model(text) + '?'") + "oh_no\n")
        assert speak().text == "HI!"

        # A crash is reported to both.
        crash = server.ask("POST", "/", data={"session": session, "code": "import os; os.abort()"})
        assert (crash.status_code, "crashed with SIGABRT" in crash.text) == (502, True)
        notebook.until(lambda message: state(message) == "restarting")
        gone = speak()
        assert (gone.status_code, "crashed with SIGABRT" in gone.text) == (410, True)

        wait_until(lambda: server.session(session)["state"] == "idle")
        notebook.run(MODEL)
        notebook.run(cell("model(text) + '!!'"))
        assert speak().text == "HI!!"
