"""The HTML pages: what a browser sees at `/` and at `/_owt/`."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, urlencode

LINKS = (
    ("/_owt/sessions", "sessions and the pool's kernels"),
    ("/_owt/endpoints", "endpoints: the paths that sessions answer at"),
    ("/_owt/openapi.json", "the endpoints as an OpenAPI document"),
    ("/_owt/runs", "runs, those in flight and those that ended not long ago"),
    ("/_owt/cache", "the cache of answers"),
    ("/_owt/health", "whether the server takes calls, and if not, why"),
    ("/_owt/health/live", "whether it answers at all"),
    ("/_owt/health/ready", "whether it takes calls, in short"),
    ("/_owt/metrics", "what it has counted and what it uses, for Prometheus"),
)

_STYLE = """\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#222}
pre{background:#f4f4f2;padding:1rem;overflow-x:auto;border-radius:6px}
code{font-family:ui-monospace,monospace}
@media(prefers-color-scheme:dark){body{background:#1b1b1b;color:#ddd}pre{background:#2a2a2a}a{color:#8bf}}
"""


def welcome(url: str, base: str = "") -> str:
    """What owt is and how to call it at `url`, under the path `base`."""
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


def index(base: str = "") -> str:
    """The list of the server's own pages, under the path `base`."""
    items = "\n".join(
        f'<li><a href="{base}{link}">{base}{link}</a>: {escape(text)}</li>' for link, text in LINKS
    )
    body = f'<h1>This server</h1>\n<ul>\n{items}\n</ul>\n<p><a href="{base}/">owt</a></p>\n'
    return page("owt: this server", body)


def page(title: str, body: str) -> str:
    """A whole page, with this HTML for its body."""
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        '<meta name=viewport content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n{body}</html>\n"
    )
