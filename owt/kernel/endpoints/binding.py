"""Argument binding: a request's fields to the parameters of an endpoint.

A field of the body wins over one of the query, and one in `kwargs` over both. Text (of a query, a form, the
path) is converted to the parameter's type; for a type that JSON writes with brackets it may be JSON; where
any text is valid, text that only looks like JSON stays text. A value of a JSON body is converted if it is not
of the type. Repeated fields are a list. An uploaded file is its bytes or its text; for a parameter without a
type it is werkzeug's FileStorage.

Sources: the URL standard (application/x-www-form-urlencoded), RFC 7578 (multipart/form-data), RFC 8259.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import ValidationError

from owt.errors import Unprocessable, shortened
from owt.kernel.code.arguments import Arguments
from owt.kernel.endpoints.schemas import constructed
from owt.kernel.endpoints.signature import Kind, Signature, TypedParameter
from owt.summat import MISSING
from owt.wire.call import FIELDS

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_EXPECTED = re.compile(r"Expected `(.+?)`, got `str`")

Problem = tuple[str, str]
"""Field of a request, and the problem with its value."""


class Texts(list[Any]):
    """Texts and files of one name in a request. Any other value of a field is one of a JSON document."""


def bind(
    signature: Signature, path: dict[str, str], request: Request, kwargs: Arguments, endpoint: str
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments, by position and by name, for the function with this signature.

    `path` has the values of the path's parameters, `kwargs` those of the field of that name; `endpoint` names
    the endpoint in a message. Raises `Unprocessable`, which lists every problem.
    """
    problems: list[Problem] = []
    takes_fields = signature.extra is not None or any(name not in path for name in signature.parameters)
    fields = _fields(request, problems, needs_object=takes_fields)
    if kwargs.value is not MISSING:
        problems.append(("kwargs", f"must be a mapping of names to values; got {shortened(kwargs.value)}"))
    fields.update(kwargs.kwargs)
    path_fields = {key: Texts([text]) for key, text in path.items()}
    unknown = [key for key in fields if key in path or key not in signature.parameters]
    args: list[Any] = []
    named: dict[str, Any] = {}
    for key, parameter in signature.parameters.items():
        field = path_fields.pop(key, fields.get(key, MISSING))
        if field is not MISSING:
            value = _bound(field, parameter, key, problems)
        elif parameter.required:
            problems.append((key, "is missing"))
            continue
        elif parameter.kind is not Kind.POSITIONAL_ONLY:
            continue
        else:
            value = parameter.default
        if parameter.kind is Kind.POSITIONAL_ONLY:
            args.append(value)
        else:
            named[key] = value
    extra = signature.extra
    for key in unknown:
        if extra is None or key in path or key in named:
            problems.append((shortened(key)[1:-1], f"is not one of its fields{_hint(key, request)}"))
        else:
            named[key] = _bound(fields[key], extra, key, problems)
    if extra is not None:
        named.update((key, _bound(field, extra, key, problems)) for key, field in path_fields.items())
    if problems:
        raise Unprocessable(problems, f"{endpoint} takes {signature.text or 'no arguments'}")
    return args, named


def _fields(request: Request, problems: list[Problem], *, needs_object: bool) -> dict[str, Any]:
    """Return the fields of the query and the body, without those of owt itself.

    A JSON body without fields is for the function itself, unless the fields need an object.
    """
    fields: dict[str, Any] = {key: Texts(texts) for key, texts in request.args.lists()}
    match request.mimetype:
        case "application/x-www-form-urlencoded" | "multipart/form-data":
            # The server limits the size of a body; and the function may want the bytes too.
            request.max_form_memory_size = None
            request.get_data()
            form: dict[str, Texts] = {}
            for part in (request.form, request.files):
                for key, values in part.lists():
                    form.setdefault(key, Texts()).extend(values)
            fields.update(form)
        case "application/json":
            try:
                document = msgspec.json.decode(request.get_data() or b"{}")
            except (ValueError, RecursionError) as error:
                problems.append(("body", f"cannot be read as JSON: {error}"))
            else:
                if isinstance(document, dict):
                    fields.update(document)
                elif needs_object:
                    problems.append(("body", f"must be a JSON object; got {shortened(document)}"))
    return {key: field for key, field in fields.items() if key not in FIELDS}


def _hint(key: str, request: Request) -> str:
    """Return advice for JSON that was sent as a form, which is curl's default."""
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    return "; add -H 'Content-Type: application/json' for JSON" if is_form and _is_json(key) else ""


def _bound(field: Any, parameter: TypedParameter, name: str, problems: list[Problem]) -> Any:
    is_text = isinstance(field, Texts)
    try:
        if is_text:
            return _from_texts(field, parameter) if parameter.convertible else field[-1]
        return _converted(field, parameter) if parameter.convertible else field
    except (ValueError, RecursionError) as error:  # msgspec's own errors and UnicodeDecodeError
        actual = field[0] if isinstance(field, list) and len(field) == 1 else field
        reason = str(error) or type(error).__name__
        if is_text and (expected := _EXPECTED.fullmatch(reason)):
            reason = f"expected {expected[1]}"
        elif reason.startswith("Invalid enum value") and parameter.choices:
            reason = f"expected one of {shortened(parameter.choices, 200)[1:-1].removesuffix(',')}"
        problems.append((name, f"{reason.replace('`', '')}; got {shortened(actual)}"))
        return None


def _from_texts(fields: Sequence[Any], parameter: TypedParameter) -> Any:
    texts = [_content(field, parameter) for field in fields]
    if parameter.optional and not parameter.any_text and (
        # A form sends an empty text for an input that was not filled in, and `null` is no item of a list.
        texts == [""] or (texts == ["null"] and parameter.sequence)
    ):
        return None
    first: Exception | None = None
    for convert in _conversions(texts, parameter):
        try:
            return convert()
        except (ValueError, RecursionError) as error:
            first = first or error
    assert first is not None
    raise first


def _conversions(texts: Sequence[Any], parameter: TypedParameter) -> Iterator[Callable[[], Any]]:
    """Yield the conversions to try, the likely one first.

    There are several only where any text is valid, because such text may start as JSON does.
    """
    text, is_one = texts[-1], len(texts) == 1
    if parameter.scalars:
        scalars = [_scalar(text, parameter.scalars) for text in texts]
        yield lambda: _converted(scalars if parameter.sequence else scalars[-1], parameter)
    is_list = is_one and isinstance(text, str) and text.lstrip().startswith("[")
    if parameter.structured and _is_json(text) and (is_list or not parameter.sequence):
        yield lambda: _converted(msgspec.json.decode(text), parameter)
        if not parameter.any_text:
            return
    if parameter.sequence:
        yield lambda: _from_items(texts, parameter)
        if not (is_one and parameter.any_text):
            return
    yield lambda: _converted(_boolean(text) if parameter.boolean else text, parameter)


def _boolean(text: Any) -> Any:
    return _BOOLEANS.get(text.lower(), text)


def _from_items(texts: Sequence[Any], parameter: TypedParameter) -> Any:
    texts = [*map(_boolean, texts)] if parameter.boolean else texts
    try:
        return _converted(texts, parameter)
    except ValidationError:
        if not any(map(_is_json, texts)):
            raise
        items = [msgspec.json.decode(text) if _is_json(text) else text for text in texts]
        return _converted(items, parameter)


def _scalar(text: Any, kinds: frozenset[type]) -> Any:
    """Return the number or boolean that `text` is in JSON if it is of one of these types, else `text`."""
    try:
        value = msgspec.json.decode(text.lower())
    except (ValueError, AttributeError):
        return text
    kind = type(value)
    return value if kind in kinds or (kind is int and float in kinds) else text


def _content(field: Any, parameter: TypedParameter) -> str | bytes:
    """Return a field, or the content of an uploaded file, as text, or as bytes where the parameter is
    binary."""
    if isinstance(field, str):
        return field.encode() if parameter.binary and not parameter.any_text else field
    content: bytes = field.read()
    return content if parameter.binary else content.decode()


def _is_json(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip().startswith(("{", "["))


def _converted(value: Any, parameter: TypedParameter) -> Any:
    return msgspec.convert(value, parameter.type, strict=False, dec_hook=constructed)
