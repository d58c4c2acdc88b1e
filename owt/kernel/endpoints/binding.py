"""Argument binding: a request's fields to the parameters of an endpoint.

A field of the body wins over one of the query, and one in `kwargs` over both. Text (of a query, a form, the
path) is converted to the parameter's type; for a type that JSON writes with brackets it may be JSON; where
any text is valid, text that only looks like JSON stays text. A value of a JSON body is converted if it is not
of the type. Repeated fields are a list. An uploaded file is its bytes, its text, or what the type makes of
it; for a parameter without a type it is werkzeug's FileStorage. A part named `kwargs.NAME` is the argument
NAME of any call. A body that is no form and no JSON object is the one argument that takes its media type.

Sources: the URL standard (application/x-www-form-urlencoded), RFC 7578 (multipart/form-data), RFC 8259.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from owt.errors import Unprocessable, shortened
from owt.kernel.body import InputStream, Messages, WholeBody
from owt.kernel.code.arguments import Arguments
from owt.kernel.context import current_messages
from owt.kernel.endpoints.contents import (
    ARGUMENT,
    FORM,
    JSON,
    ArgumentTexts,
    Content,
    Texts,
    read_form,
)
from owt.kernel.endpoints.conversions import convert, data_of_url, reason
from owt.kernel.endpoints.signature import Kind, Signature, TypedParameter, read_parameters
from owt.kernel.endpoints.streams import items_of_body, items_of_list, items_of_messages
from owt.summat import MISSING
from owt.wire.call import FIELDS
from owt.wire.media import NPY, fits

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
URLENCODED = "application/x-www-form-urlencoded"
_FORM_START = re.compile(rb"&*[\w.%+\[\]-]+([=&]|$)")
_AS_FILE = "add -H 'Content-Type: ...' with its type, or send -F NAME=@FILE"
_AS_JSON = "; send JSON, as {0}={{...}} or with -H 'Content-Type: application/json'"
_NUMBERS = frozenset({int, float})
_EXPECTED = re.compile(r"Expected `(.+?)`, got `str`")

_INVALID = (ValueError, msgspec.MsgspecError)
"""Errors in values: of msgspec (before 0.21 they are no ValueErrors), of pydantic, and UnicodeDecodeError."""

Problem = tuple[str, str]
"""Field of a request, and the problem with its value."""


def bind(
    signature: Signature, path: dict[str, str], request: Request, kwargs: Arguments, endpoint: str
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments, by position and by name, for the function with this signature.

    `path` has the values of the path's parameters, `kwargs` those of the field of that name; `endpoint` names
    the endpoint in a message. Raises `Unprocessable`, which lists every problem.
    """
    problems: list[Problem] = []
    takes_fields = signature.extra is not None or any(name not in path for name in signature.parameters)
    fields = _fields(signature, path, request, problems, needs_object=takes_fields)
    if kwargs.value is not MISSING:
        problems.append(("kwargs", f"must be a mapping of names to values; got {shortened(kwargs.value)}"))
    fields.update(kwargs.kwargs)
    path_fields = {key: Texts([text]) for key, text in path.items()}
    unknown = [key for key in fields if key in path or key not in signature.parameters]
    missing = [
        key
        for key, parameter in signature.parameters.items()
        if parameter.required and key not in fields and key not in path
    ]
    if (missing or unknown) and _is_misread(signature, request):
        problems.append(("body", f"was read as a form, which it is not; {_AS_FILE}"))
        unknown = [key for key in unknown if key not in request.form]
    args: list[Any] = []
    named: dict[str, Any] = {}
    for key, parameter in signature.parameters.items():
        field = path_fields.pop(key, fields.get(key, MISSING))
        if field is not MISSING:
            value = _bound(field, parameter, key, problems)
        elif parameter.required:
            is_object = parameter.records or parameter.adapter is not None
            hint = _AS_JSON.format(key) if is_object and unknown and request.mimetype != JSON else ""
            problems.append((key, f"is missing{hint}"))
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


def with_parts(
    arguments: Arguments, parts: dict[str, Texts], function: Callable[..., Any] | None
) -> Arguments:
    """Return the arguments of a call together with those that are parts of its form.

    They are converted to the types of the parameters of `function`, or by their media types. Raises
    `Unprocessable`, which lists every problem.
    """
    parameters, extra = ({}, None) if function is None else read_parameters(function)
    problems: list[Problem] = []
    kwargs = dict(arguments.kwargs)
    for key, texts in parts.items():
        if key in kwargs:
            problems.append((f"{ARGUMENT}{shortened(key)[1:-1]}", "is in kwargs too; send one of them"))
            continue
        parameter = parameters.get(key) or extra or _UNTYPED
        kwargs[key] = _bound(texts, parameter, f"{ARGUMENT}{key}", problems)
    if problems:
        name = getattr(function, "__name__", "the code")
        raise Unprocessable(problems, f"{name} takes {', '.join(parameters) or 'these by media type'}")
    return Arguments(kwargs, arguments.value)


_UNTYPED = TypedParameter("", Kind.KEYWORD_ONLY, Kind.empty, False, None)


def _fields(
    signature: Signature,
    path: Mapping[str, str],
    request: Request,
    problems: list[Problem],
    *,
    needs_object: bool,
) -> dict[str, Any]:
    """Return the fields of the query and the body, without those of owt itself.

    A JSON body without fields is for the function itself, unless the fields need an object.
    """
    fields: dict[str, Any] = {key: Texts(texts) for key, texts in request.args.lists()}
    media_type = request.mimetype
    if media_type == URLENCODED:
        # The server limits the size of a body; and the function may want the bytes too.
        request.max_form_memory_size = None
        request.get_data()
        fields.update((key, Texts(texts)) for key, texts in request.form.lists())
    elif media_type == "multipart/form-data":
        request.max_form_memory_size = None
        form = read_form(request.get_data(), request.content_type or FORM)
        fields.update((key, texts) for key, texts in form.items() if not key.startswith(ARGUMENT))
        fields.update(
            (key.removeprefix(ARGUMENT), texts) for key, texts in form.items() if key.startswith(ARGUMENT)
        )
    elif media_type == "application/json":
        try:
            document = msgspec.json.decode(request.get_data() or b"{}")
        except (*_INVALID, RecursionError) as error:
            problems.append(("body", f"cannot be read as JSON: {error}"))
        else:
            is_object = isinstance(document, dict)
            key, names = None, signature.parameters.keys()
            if not is_object or (document.keys() - FIELDS and names.isdisjoint(document)):
                key = _taker_of_document(document, signature, {*fields, *path})
            if key is not None:
                fields[key] = document
            elif is_object:
                fields.update(document)
            elif needs_object:
                arguments = [name for name in names if name not in path]
                hint = f'; send {{"{arguments[0]}": ...}}' if arguments else ""
                problems.append(("body", f"must be a JSON object; got {shortened(document)}{hint}"))
    elif signature.stream is not None and not _takers(media_type, signature, {*fields, *path}):
        if request.scheme in ("ws", "wss"):
            fields.setdefault(signature.stream, current_messages())
        elif signature.parameters[signature.stream].required or _has_body(request.environ):
            fields.setdefault(signature.stream, request.stream)
    elif needs_object and _has_body(request.environ):
        takers = _takers(media_type, signature, {*fields, *path})
        if len(takers) == 1:
            fields[takers[0]] = Texts([Content(request.get_data(), media_type)])
        elif takers:
            problems.append(("body", f"can be {' or '.join(takers)}; send a form that names them"))
        elif any(
            parameter.required and key not in fields and key not in path
            for key, parameter in signature.parameters.items()
        ):
            kind = media_type or "a body without a Content-Type"
            hint = "" if signature.takes_body else "; annotate one as bytes, for example"
            problems.append(("body", f"no argument takes {kind}{hint}"))
    return {key: field for key, field in fields.items() if key not in FIELDS}


def _has_body(environ: dict[str, Any]) -> bool:
    # `Environ` need not record a look at these keys, and its own method takes ten times as long.
    length = dict.get(environ, "CONTENT_LENGTH", "0")
    return length != "0" or isinstance(dict.get(environ, "wsgi.input"), InputStream)


def _takers(media_type: str, signature: Signature, others: set[str]) -> list[str]:
    """Return the parameters that take a body of this media type, those that have no other value only.

    One whose type is made for the media type counts more than one that takes any text, or any bytes.
    """
    matches = {
        key: [pattern for pattern in parameter.bodies if fits(media_type, pattern)]
        for key, parameter in signature.parameters.items()
        if key not in others
    }
    for patterns in ({media_type, "image/*"}, {"text/*"}, {"*/*"}):
        takers = [key for key, matching in matches.items() if not patterns.isdisjoint(matching)]
        if "text/*" in patterns:
            # Functions with texts that have defaults may read the body themselves.
            takers = [key for key in takers if signature.parameters[key].required]
        if takers:
            return takers
    if media_type in ("", "application/octet-stream"):
        return [key for key in matches if signature.parameters[key].contents]
    return []


def _taker_of_document(document: Any, signature: Signature, others: set[str]) -> str | None:
    """Return the one parameter that a whole JSON document is for: a list, or an object of other names."""
    if not isinstance(document, (dict, list)) or (signature.extra is not None and isinstance(document, dict)):
        return None
    takers = _takers(JSON, signature, others)
    takers = [key for key in takers if signature.parameters[key].required] or takers
    return takers[0] if len(takers) == 1 else None


def _hint(key: str, request: Request) -> str:
    """Return advice for JSON that was sent as a form, which is curl's default."""
    is_form = request.mimetype == URLENCODED
    return "; add -H 'Content-Type: application/json' for JSON" if is_form and _is_json(key) else ""


def _is_misread(signature: Signature, request: Request) -> bool:
    """Return True for a file that was sent as a form, which is the default of curl's --data-binary."""
    if request.mimetype != URLENCODED or not signature.takes_body or signature.extra is not None:
        return False
    data = request.get_data()
    return bool(data) and not _is_json(data[:100].decode("latin-1")) and _FORM_START.match(data) is None


def _bound(field: Any, parameter: TypedParameter, name: str, problems: list[Problem]) -> Any:
    if parameter.stream is not None and parameter.item is not None:
        if isinstance(field, (InputStream, WholeBody)):
            return items_of_body(parameter.stream, field, partial(_converted, parameter=parameter.item), name)
        if isinstance(field, Messages):
            item = parameter.item
            return items_of_messages(parameter.stream, field, partial(_converted, parameter=item), name)
        values = _bound(field, replace(parameter, stream=None), name, problems)
        return items_of_list(parameter.stream, values or ())
    is_text = isinstance(field, Texts)
    try:
        if not parameter.convertible:
            return _plain(field) if is_text else field
        if is_text and type(field[0]) is Content and len(field) == 1 and _is_document(field[0], parameter):
            field, is_text = field[0].json(), False
        if is_text:
            return _from_texts(field, parameter)
        return _converted(data_of_url(field) if parameter.binary else field, parameter)
    except (*_INVALID, RecursionError) as error:
        actual = field[0] if isinstance(field, Texts) and len(field) == 1 else field
        problem = reason(error)
        if is_text and (expected := _EXPECTED.fullmatch(problem)):
            problem = f"expected {expected[1]}"
        elif problem.startswith("Invalid enum value") and parameter.choices:
            problem = f"expected one of {shortened(parameter.choices, 200)[1:-1].removesuffix(',')}"
        problems.append((name, f"{problem.replace('`', '')}; got {_excerpt(actual)}"))
        return None


def _excerpt(value: Any) -> str:
    if isinstance(value, Content):
        return f"{len(value.data)} bytes of {value.media_type or 'no media type'}"
    return shortened(value)


def _plain(field: Texts) -> Any:
    """Return the value of a field for a parameter without a type; all values if an argument is repeated."""
    is_argument = isinstance(field, ArgumentTexts)
    values = []
    for value in field if is_argument else field[-1:]:
        if isinstance(value, Content):
            value = value.file() if value.filename is not None and not is_argument else value.value()
        values.append(value)
    return values if len(values) > 1 else values[0]


def _is_document(content: Content, parameter: TypedParameter) -> bool:
    """Return True for JSON, unless the parameter takes any content as it is, or any text that is not labelled
    as JSON."""
    is_json = (content.label if parameter.any_text else content.kind) == JSON
    return is_json and not parameter.binary and "*/*" not in parameter.contents


def _from_texts(fields: Sequence[Any], parameter: TypedParameter) -> Any:
    texts = [_content(field, parameter) for field in fields]
    if parameter.optional and not parameter.any_text and (
        # A form sends an empty text for an input that was not filled in, and `null` is no item of a list.
        texts == [""] or (texts == ["null"] and parameter.sequence)
    ):
        return None
    first: Exception | None = None
    for attempt in _conversions(texts, parameter):
        try:
            return attempt()
        except (*_INVALID, RecursionError) as error:
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
    if NPY in parameter.contents and (numbers := [_scalar(text, _NUMBERS) for text in texts]) != texts:
        # An array without a list in its type: repeated fields are its items, too.
        yield lambda: _converted(numbers, parameter)
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
    return _BOOLEANS.get(text.lower(), text) if isinstance(text, str) else text


def _from_items(texts: Sequence[Any], parameter: TypedParameter) -> Any:
    texts = [*map(_boolean, texts)] if parameter.boolean else texts
    try:
        return _converted(texts, parameter)
    except _INVALID:
        if not any(map(_is_json, texts)):
            raise
        items = [msgspec.json.decode(text) if _is_json(text) else text for text in texts]
        return _converted(items, parameter)


def _scalar(text: Any, kinds: frozenset[type]) -> Any:
    """Return the number or boolean that `text` is in JSON if it is of one of these types, else `text`."""
    try:
        value = msgspec.json.decode(text.lower())
    except (*_INVALID, AttributeError):
        return text
    kind = type(value)
    return value if kind in kinds or (kind is int and float in kinds) else text


def _content(field: str | Content, parameter: TypedParameter) -> Any:
    """Return a field, or an uploaded file, as text; as bytes where the parameter is binary; as it is where
    its type converts from content."""
    if isinstance(field, str):
        return field.encode() if parameter.binary and not parameter.any_text else field
    if parameter.optional and not field.filename and not field.data:
        # A file input that was not filled in.
        return ""
    if NPY not in parameter.contents and field.name:
        field = field.unwrapped()
    if parameter.binary:
        return field.data
    if _is_document(field, parameter):
        return field.json()
    return field if parameter.contents or parameter.adapter is not None else field.text()


def _is_json(text: Any) -> bool:
    return isinstance(text, str) and text.lstrip().startswith(("{", "["))


def _converted(value: Any, parameter: TypedParameter) -> Any:
    if parameter.adapter is not None:
        return parameter.adapter.validate_python(value.json() if isinstance(value, Content) else value)
    converted = msgspec.convert(value, parameter.type, strict=False, dec_hook=convert)
    if parameter.records:
        _set_defaults(converted)
    return converted


def _set_defaults(value: Any) -> None:
    """Set the fields of dataclasses that msgspec has left to the defaults of their classes, where its encoder
    would miss them."""
    if isinstance(value, (list, tuple, set, frozenset)):
        items: Iterable[Any] = value
    elif isinstance(value, dict):
        items = value.values()
    elif isinstance(value, msgspec.Struct):
        items = [getattr(value, name) for name in value.__struct_fields__]
    elif dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        for name in fields.keys() - getattr(value, "__dict__", fields).keys():
            # A frozen dataclass has a __setattr__ that refuses.
            object.__setattr__(value, name, fields[name])
        items = fields.values()
    else:
        return
    for item in items:
        _set_defaults(item)
