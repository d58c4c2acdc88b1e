"""A request's fields, made to fit an endpoint's parameters.

A field of the body wins over one of the query, and what `kwargs` says over both. Text (of a query, a
form, the path) is read as the parameter's type; for a type that JSON has brackets for, it may be JSON, and
where any text fits, what only looks like JSON is text. What a JSON body has is converted where it is not of
the type. Several fields of one name are a list. A file that was uploaded is its bytes, or its text, or for a
parameter without a type werkzeug's FileStorage.

Sources: the URL standard (application/x-www-form-urlencoded), RFC 7578 (multipart/form-data), RFC 8259.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import ValidationError

from owt.errors import Unprocessable, shortened
from owt.kernel.code.arguments import MISSING, Arguments
from owt.kernel.endpoints.schemas import FROM_TEXT
from owt.kernel.endpoints.signature import Kind, Signature, Taken
from owt.wire.call import FIELDS

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

_SWITCH = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_EXPECTED = re.compile(r"Expected `(.+?)`, got `str`")
_BEGINS_JSON = ("{", "[")


@dataclass(frozen=True, slots=True)
class Field:
    """What a request has under one name: texts and files, or one `value` of a JSON document."""

    texts: Sequence[Any] = ()
    value: Any = MISSING


def fitted(
    signature: Signature, path: dict[str, str], request: Request, kwargs: Arguments, name: str
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments, by position and by name, for the function with this signature.

    `path` is what the path's parameters are, `kwargs` what the field of that name says, and `name` how
    the endpoint is called in a message. Raises `Unprocessable`, which lists all that does not fit.
    """
    problems: list[tuple[str, str]] = []
    fields = _fields(request, problems)
    if kwargs.value is not MISSING:
        problems.append(("kwargs", f"must be a mapping of names to values; got {shortened(kwargs.value)}"))
    fields.update((key, Field(value=value)) for key, value in kwargs.kwargs.items())
    given = {key: Field(texts=[text]) for key, text in path.items()}
    unknown = [key for key in fields if key in path or key not in signature.parameters]
    args: list[Any] = []
    named: dict[str, Any] = {}
    for key, taken in signature.parameters.items():
        field = given.pop(key, None) or fields.get(key)
        if field is not None:
            value = _fit(field, taken, key, problems)
        elif taken.required:
            problems.append((key, "is missing"))
            continue
        elif taken.kind is not Kind.POSITIONAL_ONLY:
            continue
        else:
            value = taken.default
        if taken.kind is Kind.POSITIONAL_ONLY:
            args.append(value)
        else:
            named[key] = value
    more = signature.more
    for key in unknown:
        if more is None or key in path or key in named:
            problems.append((shortened(key)[1:-1], f"is not one of its fields{_hint(key, request)}"))
        else:
            named[key] = _fit(fields[key], more, key, problems)
    if more is not None:
        named.update((key, _fit(field, more, key, problems)) for key, field in given.items())
    if problems:
        raise Unprocessable(problems, f"{name} takes {signature.shown or 'no arguments'}")
    return args, named


def _fields(request: Request, problems: list[tuple[str, str]]) -> dict[str, Field]:
    """What the query and the body have, without what is for owt itself."""
    fields: dict[str, Field] = {key: Field(texts=texts) for key, texts in request.args.lists()}
    match request.mimetype:
        case "application/x-www-form-urlencoded" | "multipart/form-data":
            # As large as a body may be, says the server; and the function may want the bytes, too.
            request.max_form_memory_size = None
            request.get_data()
            form: dict[str, list[Any]] = {}
            for several in (request.form, request.files):
                for key, values in several.lists():
                    form.setdefault(key, []).extend(values)
            fields.update((key, Field(texts=values)) for key, values in form.items())
        case "application/json":
            try:
                document = msgspec.json.decode(request.get_data() or b"{}")
            except (ValueError, RecursionError) as error:
                problems.append(("body", f"is not JSON: {error}"))
            else:
                if isinstance(document, dict):
                    fields.update((key, Field(value=value)) for key, value in document.items())
    return {key: field for key, field in fields.items() if key not in FIELDS}


def _hint(key: str, request: Request) -> str:
    """What to do about JSON that came as a form, as curl sends whatever it is not told better."""
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    return "; say -H 'Content-Type: application/json' for JSON" if is_form and _is_json(key) else ""


def _fit(field: Field, taken: Taken, name: str, problems: list[tuple[str, str]]) -> Any:
    try:
        if field.value is not MISSING:
            return _converted(field.value, taken) if taken.known else field.value
        return _from_texts(field.texts, taken) if taken.known else field.texts[-1]
    except (ValueError, RecursionError) as error:  # msgspec's own errors and UnicodeDecodeError
        shown = field.value if field.value is not MISSING else list(field.texts)
        if isinstance(shown, list) and len(shown) == 1:
            shown = shown[0]
        why = str(error) or type(error).__name__
        if field.value is MISSING and (expected := _EXPECTED.fullmatch(why)):
            why = f"expected {expected[1]}"
        elif why.startswith("Invalid enum value") and taken.choices:
            why = f"expected one of {shortened(taken.choices, 200)[1:-1].removesuffix(',')}"
        problems.append((name, f"{why.replace('`', '')}; got {shortened(shown)}"))
        return None


def _from_texts(texts: Sequence[Any], taken: Taken) -> Any:
    given = [_plain(text, taken) for text in texts]
    if given == [""] and taken.nothing and not taken.text:
        # A form sends it so when nothing was filled in.
        return None
    first: Exception | None = None
    for way in _ways(given, taken):
        try:
            return way(given, taken)
        except (ValueError, RecursionError) as error:
            first = first or error
    assert first is not None
    raise first


def _ways(texts: Sequence[str | bytes], taken: Taken) -> Iterator[Callable[[Sequence[Any], Taken], Any]]:
    """How these may be read, the likely way first. Only of what may be any text there are several: it may
    begin as JSON does."""
    is_one = len(texts) == 1
    if taken.structured and _is_json(texts[-1]) and (not taken.series or (is_one and _is_list(texts[0]))):
        yield _from_json
        if not taken.text:
            return
    if taken.series:
        yield _from_items
        if not (is_one and taken.text):
            return
    yield _from_text


def _from_json(texts: Sequence[Any], taken: Taken) -> Any:
    return _converted(msgspec.json.decode(texts[-1]), taken)


def _from_items(texts: Sequence[Any], taken: Taken) -> Any:
    try:
        return _converted(texts, taken)
    except ValidationError:
        if not any(map(_is_json, texts)):
            raise
        return _converted([msgspec.json.decode(text) if _is_json(text) else text for text in texts], taken)


def _from_text(texts: Sequence[Any], taken: Taken) -> Any:
    text = texts[-1]
    return _converted(_SWITCH.get(text.lower(), text) if taken.switch else text, taken)


def _plain(text: Any, taken: Taken) -> str | bytes:
    """A field as text, or as bytes where these are taken; an uploaded file as what is in it."""
    if isinstance(text, str):
        return text.encode() if taken.bytes and not taken.text else text
    content: bytes = text.read()
    return content if taken.bytes else content.decode()


def _is_list(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip().startswith("[")


def _is_json(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip().startswith(_BEGINS_JSON)


def _converted(value: Any, taken: Taken) -> Any:
    return msgspec.convert(value, taken.type, strict=False, dec_hook=_made)


def _made(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, FROM_TEXT) and isinstance(value, (str, int, float)):
        made: Any = kind
        return made(value)
    return value
