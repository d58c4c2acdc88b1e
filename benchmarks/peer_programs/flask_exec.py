"""Flask's development server, which runs the code of a call in its own process.

    python flask_exec.py PORT

`code` and `kwargs`, both in base64, are query parameters or fields of a form. Requests are not logged.
"""

import ast
import base64
import logging
import sys

from flask import Flask, request

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def call() -> str:
    code = base64.b64decode(request.values["code"]).decode()
    kwargs = ast.literal_eval(base64.b64decode(request.values["kwargs"]).decode())
    scope: dict = {}
    exec(code, scope)
    return scope["run"](**kwargs)


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run("127.0.0.1", int(sys.argv[1]))
