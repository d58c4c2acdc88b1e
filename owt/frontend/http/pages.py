"""HTML pages: the frame of all pages with its icon, and the page at `/`."""

from __future__ import annotations

from base64 import b64decode
from html import escape
from urllib.parse import quote, urlencode

from owt.frontend.problems import WholeResponse

_STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#222}
pre{--box:#f4f4f2;padding:1rem;overflow-x:auto;border-radius:6px;background:
linear-gradient(90deg,var(--box) 40%,#0000),linear-gradient(-90deg,var(--box) 40%,#0000) 100%,
linear-gradient(90deg,#0006,#0000),linear-gradient(-90deg,#0006,#0000) 100%;
background-color:var(--box);background-repeat:no-repeat;
background-size:3rem 100%,3rem 100%,1rem 100%,1rem 100%;
background-attachment:local,local,scroll,scroll}
pre::-webkit-scrollbar{height:.6rem}
pre::-webkit-scrollbar-thumb{background:#888;border-radius:.3rem}
code{font-family:ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}pre{--box:#2a2a2a}a{color:#8bf}}
"""
"""Style of all pages. A box whose lines are too long has a shadow on the side that hides text, and a scroll
bar that does not disappear."""

_ICON = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX///8iZszPfgNKAAAAAXRSTlMAQObYZgAAAFVJREFU"
    "eNqNjrERgDAMA8WlSOkRGCWjhdEySkZwSZGLMHJBi4qvbL0AxTzQd4AECjlQyQkjPXGSN5rbQps1MMpCv479BzrOt7dAVV+z"
    "RFJKnjM0KPIA3FNDAz6+1EoAAAAASUVORK5CYII="
)
"""A blue ring, as PNG."""


def icon() -> WholeResponse:
    """Return the icon for the browser's tab."""
    headers = [("Content-Type", "image/png"), ("Cache-Control", "max-age=86400")]
    return WholeResponse(200, headers, _ICON)


def welcome(url: str, base: str = "") -> str:
    """Return the page at `/`, which explains how to call the server at `url` with the base URL `base`."""
    where = escape(url + base)
    code = 'def run(name): return f"Hello, {name}!"'
    first = escape(f"{base}/hello?" + urlencode({"code": code, "kwargs": '{"name": "owt"}'}, quote_via=quote))
    return page(
        "owt",
        f"""\
<h1>owt</h1>
<p>This server runs Python that a request brings, in a kernel that lives on between calls.
Try it from a shell:</p>
<pre><code>curl -G {where}/hello \\
  --data-urlencode 'code=def run(name): return f"Hello, {{name}}!"' \\
  --data-urlencode 'kwargs={{"name": "owt"}}'</code></pre>
<p>or right here:
<a href="{first}">Hello, owt!</a></p>
<p>A <em>session</em> keeps its variables:</p>
<pre><code>curl {where}/ -d session=mine --data-urlencode 'code=x = 41'
curl {where}/ -d session=mine --data-urlencode 'code=x + 1'</code></pre>
<p><a href="{base}/_owt/">What this server offers</a></p>
""",
        base,
    )


def page(title: str, body: str, base: str) -> str:
    """Return a whole page with this title and HTML body. `base` is the base URL."""
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f'<link rel=icon href="{base}/favicon.ico">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n{body}</html>\n"
    )
