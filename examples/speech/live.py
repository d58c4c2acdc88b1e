from base64 import b64encode
from pathlib import Path


def run(folder: str) -> str:
    """Return the page from its current files in `folder`, with its scripts inside."""
    here = Path(folder)
    page = (here / "speech.html").read_text()
    for script in "./speech.js", "../clients/owt.js":
        data = b64encode((here / script).read_bytes()).decode()
        page = page.replace(script, f"data:text/javascript;base64,{data}")
    return page
