"""Values of many types on a live server: headers, files, pictures in documents, and types of a user."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

from owt.client import Client

FIGURE = "import matplotlib.pyplot as plt\nplt.figure()"
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])"
IMAGES = "from PIL import Image\n{'images': [Image.new('1', (1, 1))]}"


def ask(http: httpx.Client, code: str, accept: str = "*/*", **fields: str) -> httpx.Response:
    answer = http.post("/", data={"code": code, **fields}, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    return answer


def events(text: str) -> list[tuple[str, str]]:
    """Return names and data of a body of events."""
    pairs = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            pairs.append((fields.get("event", ""), fields["data"]))
    return pairs


def test_the_answer_says_which_kind_of_value_it_was(http: httpx.Client) -> None:
    array = ask(http, "__import__('numpy').arange(3)", "application/x-npy, application/json")
    assert (array.headers["owt-value"], array.headers["content-type"]) == ("array", "application/x-npy")
    assert array.content.startswith(b"\x93NUMPY")
    assert "owt-value" not in ask(http, "[1]").headers


def test_a_path_is_a_file_of_which_a_client_may_read_a_part(http: httpx.Client, tmp_path: Path) -> None:
    file = tmp_path / "data.bin"
    file.write_bytes(bytes(range(256)) * 2000)
    query = {"code": f"__import__('pathlib').Path({str(file)!r})"}
    whole = http.get("/", params=query, headers={"Accept": "*/*"})
    assert whole.content == file.read_bytes()
    assert whole.headers["content-length"] == "512000"
    assert (whole.headers["owt-value"], whole.headers["accept-ranges"]) == ("file", "bytes")
    part = http.get("/", params=query, headers={"Accept": "*/*", "Range": "bytes=300-302"})
    assert (part.status_code, part.content) == (206, bytes([44, 45, 46]))
    assert part.headers["content-range"] == "bytes 300-302/512000"
    headers = {"Accept": "*/*", "If-None-Match": whole.headers["etag"]}
    assert http.get("/", params=query, headers=headers).status_code == 304
    assert ask(http, query["code"], "application/json").json() == str(file)


def test_a_plot_is_one_picture_in_events(http: httpx.Client) -> None:
    (display, bundle), *rest = events(ask(http, PLOT, "text/event-stream").text)
    assert (display, json.loads(bundle).keys()) == ("display", {"image/png", "text/plain"})
    assert [name for name, _ in rest] == ["result", "done"]
    assert rest[0][1] == "null"


def test_a_plot_of_a_function_is_a_picture_in_events(http: httpx.Client) -> None:
    code = "import matplotlib.pyplot as plt\ndef run(): return plt.plot([1, 2])"
    (result, bundle), *_ = events(ask(http, code, "text/event-stream").text)
    assert (result, json.loads(bundle).keys()) == ("result", {"image/png", "text/plain"})


PICTURES = """
from PIL import Image
picture = Image.new("RGB", (2, 2))
"""


@pytest.mark.parametrize("tail", ["picture", "display(picture)", "[picture]", "def run(): yield picture"])
@pytest.mark.parametrize(
    ("fields", "accept", "expected"),
    [
        ({}, "text/event-stream", "image/png"),
        ({}, "text/event-stream, image/jpeg", "image/jpeg"),
        ({"display": "image/jpeg"}, "text/event-stream", "image/jpeg"),
        ({"display": "image/png", "stream": "sse"}, "image/jpeg", "image/png"),
    ],
)
def test_events_have_one_picture_of_an_image(
    http: httpx.Client, tail: str, fields: dict[str, str], accept: str, expected: str
) -> None:
    query = {"code": PICTURES + tail, **fields}
    response = http.get("/", params=query, headers={"Accept": accept})
    assert re.findall(r'"(image/[a-z]+)":', response.text) == [expected]


@pytest.mark.parametrize(
    ("code", "display", "content_type"),
    [
        (PICTURES + "picture", "image/jpeg", "image/jpeg"),
        (PICTURES + "display(picture)", "image/jpeg", "image/jpeg"),
        (FIGURE, "image/svg+xml", "image/svg+xml"),
        # Not encoded.
        (FIGURE, "image/svg xml", "image/svg+xml"),
        ("'text'", "application/json", "application/json"),
        ("[1]", "text/html", "application/json"),
    ],
)
def test_the_field_display_selects_the_representation(
    http: httpx.Client, code: str, display: str, content_type: str
) -> None:
    # As a page's <img> does.
    response = http.get("/", params={"code": code, "display": display}, headers={"Accept": "image/png, */*"})
    assert response.headers["content-type"] == content_type


def test_a_client_that_chooses_the_representation_gets_its_bytes(http: httpx.Client) -> None:
    with Client(str(http.base_url)) as client:
        assert client.with_options(display="image/jpeg").call(PICTURES + "picture")[:3] == b"\xff\xd8\xff"
        events = client.with_options(display="image/svg+xml").stream(FIGURE)
        [bundle] = [event.json() for event in events if event.name == "result"]
        assert bundle.keys() == {"image/svg+xml", "text/plain"}


def test_pictures_in_a_document_are_parts_or_displays(http: httpx.Client) -> None:
    mixed = ask(http, IMAGES, "multipart/mixed")
    assert mixed.headers["content-type"].startswith("multipart/mixed; boundary=")
    assert b"Content-ID: <value-1>\r\n\r\n\x89PNG" in mixed.content
    (display, bundle), (result, document), _ = events(ask(http, IMAGES, "text/event-stream").text)
    assert (display, result) == ("display", "result")
    assert "image/png" in json.loads(bundle)
    assert json.loads(document) == {"images": ["cid:value-1"]}


def test_a_registered_type_is_known_to_later_calls_of_the_session(http: httpx.Client, session: str) -> None:
    ask(
        http,
        "import owt\nclass Word:\n    text = 'owt'\nowt.register(Word, lambda word: {'word': word.text})",
        session=session,
    )
    assert ask(http, "Word()", session=session).json() == {"word": "owt"}
    assert ask(http, "def run(): yield [state.Word()]", session=session).json() == [{"word": "owt"}]
