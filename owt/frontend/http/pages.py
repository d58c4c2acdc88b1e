"""HTML pages: the frame of all pages, and the page at `/`."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, urlencode

_STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#222}
pre{background:#f4f4f2;padding:1rem;overflow-x:auto;border-radius:6px}
code{font-family:ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}pre{background:#2a2a2a}a{color:#8bf}}
"""


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
    )


def page(title: str, body: str) -> str:
    """Return a whole page with this title and HTML body."""
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n{body}</html>\n"
    )
