"""Signature of an endpoint's function: its parameters and result, from its annotations.

msgspec converts values and describes types by JSON Schemas, pydantic its own types, and
`owt.kernel.endpoints.conversions` arrays, tables, images and files. A value for any other type, such as a
class of the session, is passed as received and described as anything.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import json
import sys
import typing
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from msgspec import inspect as types

from owt.errors import EndpointError
from owt.kernel.endpoints.contents import JSON
from owt.kernel.endpoints.conversions import FROM_TEXT, conversion_of, pydantic_adapter
from owt.kernel.endpoints.schemas import NoneType, default_json, schemas_of
from owt.kernel.endpoints.streams import StreamType, stream_type
from owt.wire import endpoint as rules
from owt.wire import media
from owt.wire.call import FIELDS
from owt.wire.endpoint import Endpoint, Parameter

Kind = inspect.Parameter

_STREAMS = (abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncGenerator)
_LISTS = (types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType)
_SEQUENCES = (*_LISTS, types.TupleType)
_BYTES = (types.BytesType, types.ByteArrayType, types.MemoryViewType)
_RECORDS = (types.StructType, types.DataclassType, types.TypedDictType, types.NamedTupleType)
_STRUCTURED = (*_SEQUENCES, types.DictType, *_RECORDS)


@dataclass(frozen=True)
class TypedParameter:
    """Parameter of a function. `convertible` is True if values can be converted to its `type`: by pydantic's
    `adapter`, if there is one, else by msgspec.

    The fields after it describe the values of the type, or the items of a sequence: it has a `sequence` type,
    a type that JSON writes with brackets (`structured`), `any_text`, bytes (`binary`) or None (`optional`)
    among its members; it is `boolean` if true and false are its only values, and `choices` lists its only
    values, if there is such a list. `scalars` are the types of the numbers and booleans that are among them
    besides texts. `records` is True if there may be objects with fields among its values. `contents` are the
    media types that the type itself converts from, and `bodies` those of request bodies that the parameter
    takes. `stream` is set if the items of a body are the value: the other fields then describe a list of
    items, and `item` one of them.
    """

    name: str
    kind: Any
    type: Any
    required: bool
    default: Any
    convertible: bool = False
    sequence: bool = False
    structured: bool = False
    any_text: bool = True
    binary: bool = False
    boolean: bool = False
    optional: bool = False
    choices: tuple[Any, ...] = ()
    scalars: frozenset[type] = frozenset()
    records: bool = False
    adapter: Any = None
    contents: tuple[str, ...] = ()
    bodies: tuple[str, ...] = ()
    stream: StreamType | None = None
    item: TypedParameter | None = None


@dataclass(frozen=True)
class Signature:
    """Signature of a function: parameters by name, `extra` for `**kwargs` (None without them), and its
    `text`. `takes_body` is True if one of the parameters can be a whole body that is no form; `stream` is the
    name of the parameter that is fed from the body as it comes."""

    parameters: dict[str, TypedParameter]
    extra: TypedParameter | None
    returns: Any
    text: str
    takes_body: bool = False
    stream: str | None = None


def read_signature(function: Callable[..., Any], path: str, path_names: Sequence[str]) -> Signature:
    """Return the signature of the function at this path.

    Raises `EndpointError` if its annotations cannot be evaluated, a parameter of the path is missing, or a
    parameter has a name that is reserved for owt.
    """
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = _evaluated(function)
        # The module of the session's own classes means nothing to a client.
        text = str(signature.replace(return_annotation=Kind.empty)).replace(f"{function.__module__}.", "")
    except Exception as error:
        raise EndpointError(
            f"{path}: the signature of {name} cannot be read: {type(error).__name__}: {error}"
        ) from error
    parameters: dict[str, TypedParameter] = {}
    extra = None
    for parameter in signature.parameters.values():
        if parameter.kind is Kind.VAR_KEYWORD:
            extra = _typed(parameter)
        elif parameter.kind is not Kind.VAR_POSITIONAL:
            if parameter.name in FIELDS and parameter.name not in path_names:
                raise EndpointError(
                    f"{path}: {name} has a parameter {parameter.name!r}, which is a field of every "
                    "request to owt; give it another name"
                )
            parameters[parameter.name] = _typed(parameter)
    if extra is None and (missing := [name for name in path_names if name not in parameters]):
        names = [*path_names, *(name for name in parameters if name not in path_names)]
        raise EndpointError(
            f"{path}: {name} has no parameter {missing[0]!r}, which the path has; write def {name}("
            f"{', '.join(names)})"
        )
    takes_body = any(parameter.bodies for parameter in parameters.values())
    text = text[1:-1] if len(text) < 500 else "..."
    streams = [key for key, parameter in parameters.items() if parameter.stream and key not in path_names]
    if len(streams) > 1:
        raise EndpointError(
            f"{path}: {name} has the parameters {streams[0]!r} and {streams[1]!r}, which are both fed from "
            "the body of the request; only one can be"
        )
    stream = streams[0] if streams else None
    return Signature(parameters, extra, signature.return_annotation, text, takes_body, stream)


def read_parameters(function: Callable[..., Any]) -> tuple[dict[str, TypedParameter], TypedParameter | None]:
    """Return the parameters of any function that can be passed by name, and that of `**kwargs`.

    A function whose signature or annotations cannot be read has none.
    """
    try:
        parameters = _evaluated(function).parameters.values()
    except Exception:
        return {}, None
    by_name = (Kind.POSITIONAL_OR_KEYWORD, Kind.KEYWORD_ONLY)
    named = {parameter.name: _typed(parameter) for parameter in parameters if parameter.kind in by_name}
    extra = [_typed(parameter) for parameter in parameters if parameter.kind is Kind.VAR_KEYWORD]
    return named, extra[0] if extra else None


def _evaluated(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function with its annotations evaluated. Raises whatever these raise."""
    if sys.version_info >= (3, 10):
        return inspect.signature(function, eval_str=True)
    signature = inspect.signature(function)
    plain = inspect.unwrap(function)
    while isinstance(plain, functools.partial):
        plain = plain.func
    if not hasattr(plain, "__globals__"):
        plain = plain.__init__ if isinstance(plain, type) else type(plain).__call__
    names = getattr(plain, "__globals__", {})

    def evaluated(annotation: Any) -> Any:
        return eval(annotation, names) if isinstance(annotation, str) else annotation

    parameters = [
        parameter.replace(annotation=evaluated(parameter.annotation))
        for parameter in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters, return_annotation=evaluated(signature.return_annotation))


def describe(
    function: Callable[..., Any], signature: Signature, path: str, methods: tuple[str, ...]
) -> Endpoint:
    """Return the public description of a function at this path. Raises `EndpointError`."""
    item, streams = _result(function, signature.returns)
    parameters, path_names = signature.parameters.values(), rules.parameters(path)
    kinds = [parameter.type if parameter.convertible else Any for parameter in parameters]
    [*schemas, result], definitions = schemas_of(kinds, [Any if item is Kind.empty else item])
    text = inspect.getdoc(function) or ""
    if inspect.getattr_static(type(function), "__doc__", None) is getattr(function, "__doc__", None):
        # The docstring of its class does not describe the object.
        text = ""
    limit = rules.MAX_DESCRIPTION
    endpoint = Endpoint(
        path=path,
        methods=methods,
        name=str(getattr(function, "__name__", type(function).__name__))[:200],
        description=text if len(text) <= limit else text[: limit - 4] + " ...",
        parameters=tuple(
            Parameter(
                parameter.name,
                "path" if parameter.name in path_names else "field",
                json.dumps(schema),
                parameter.required or parameter.name in path_names,
                None if parameter.required else default_json(parameter.default, kind),
                parameter.stream.media_type if parameter.stream else "",
            )
            for parameter, kind, schema in zip(parameters, kinds, schemas)
        ),
        more=signature.extra is not None,
        result=None if item is Kind.empty else json.dumps(result),
        streams=streams,
        definitions=json.dumps(definitions),
        scalar=None if streams else _scalar_form(item),
        bodies=_bodies([parameter for parameter in parameters if parameter.name not in path_names]),
    )
    rules.check([endpoint])
    return endpoint


def unreachable_fields(signature: Signature, endpoint: Endpoint) -> tuple[str, list[str]]:
    """Return the parameter that a whole JSON object is for, and those fields of its type that such an object
    cannot have, because they are fields of every request."""
    inputs = {parameter.name: parameter for parameter in endpoint.parameters if parameter.where == "field"}
    takers = [key for key in inputs if JSON in signature.parameters[key].bodies]
    takers = [key for key in takers if inputs[key].required] or takers
    if len(takers) != 1 or signature.extra is not None:
        return "", []
    names = _properties(json.loads(inputs[takers[0]].schema), json.loads(endpoint.definitions))
    return takers[0], [name for name in names if name in FIELDS]


def _properties(schema: Any, definitions: dict[str, Any]) -> list[str]:
    """Return the names of the properties of an object, or of each alternative that is one."""
    if not isinstance(schema, dict):
        return []
    if (reference := schema.get("$ref")) is not None:
        return _properties(definitions.get(reference.removeprefix(rules.REFERENCE)), definitions)
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    names = [name for part in alternatives for name in _properties(part, definitions)]
    return [*schema.get("properties", ()), *names]


def _bodies(parameters: list[TypedParameter]) -> tuple[str, ...]:
    """Return the media types of whole bodies that are a value of one of these parameters, but forms and JSON.

    A text that has a default is no taker of a body: see `owt.kernel.endpoints.binding`.
    """
    kinds = {kind for parameter in parameters for kind in parameter.bodies if kind != JSON}
    if not any(parameter.required for parameter in parameters if "text/*" in parameter.bodies):
        kinds.discard("text/*")
    if any(parameter.contents for parameter in parameters):
        # The first bytes show what it is.
        kinds |= {"", media.OCTETS}
    return tuple(sorted(kinds))


def _typed(parameter: inspect.Parameter) -> TypedParameter:
    name, kind, annotation = parameter.name, parameter.kind, parameter.annotation
    if (stream := stream_type(annotation)) is not None:
        # A generic alias at run time.
        items: Any = list
        whole = _typed(parameter.replace(annotation=items[stream.item]))
        item = _typed(parameter.replace(annotation=stream.item))
        return replace(whole, bodies=(JSON,), contents=(), stream=stream, item=item)
    required = parameter.default is Kind.empty and kind is not Kind.VAR_KEYWORD
    default = None if parameter.default is Kind.empty else parameter.default
    if default is None and not required and kind is not Kind.VAR_KEYWORD and annotation is not Kind.empty:
        # `text: str = None` means an optional str. An annotation that is no type raises TypeError.
        with suppress(TypeError):
            annotation = typing.Optional[annotation]
    untyped = TypedParameter(name, kind, annotation, required, default)
    adapter = None if annotation is Kind.empty else pydantic_adapter(annotation)
    try:
        members = [] if annotation is Kind.empty else _members(types.type_info(annotation))
    except Exception:
        members = []
    if adapter is not None and not members:
        sequence = typing.get_origin(annotation) in (list, set, frozenset, tuple)
        return replace(
            untyped, convertible=True, structured=True, sequence=sequence, any_text=False, adapter=adapter,
            bodies=(JSON,),
        )  # fmt: skip
    if not members or not all(map(_is_convertible, members)):
        return untyped
    # Fields that are repeated are items, and each of them is text or bytes.
    items = [item for member in members for item in _items(member)]
    kinds = {kind for item in items for kind in _scalars(item)}
    conversions = [conversion for item in items if (conversion := conversion_of(_class_of(item))) is not None]
    sequence = any(isinstance(member, _SEQUENCES) for member in members)
    structured = any(isinstance(member, _STRUCTURED) for member in members) or any(
        conversion.structured for conversion in conversions
    )
    contents = tuple(kind for conversion in conversions for kind in conversion.media_types)
    binary = any(isinstance(item, _BYTES) for item in items)
    has_text = any(isinstance(item, types.StrType) for item in items)
    bodies: tuple[str, ...] = ()
    if not sequence:
        bodies = (*contents, *(["*/*"] if binary else []), *(["text/*"] if has_text else []))
    return replace(
        untyped,
        convertible=True,
        sequence=sequence,
        structured=structured,
        adapter=adapter,
        contents=contents,
        bodies=(*bodies, JSON) if structured and JSON not in bodies else bodies,
        any_text=has_text or any(isinstance(item, types.AnyType) for item in items),
        binary=binary,
        boolean=all(kind in (bool, NoneType) for item in items for kind in _scalars(item)),
        optional=any(isinstance(member, types.NoneType) for member in members),
        choices=tuple(choice for member in members for choice in _choices(member)),
        scalars=frozenset(kinds & {int, float, bool}) if str in kinds else frozenset(),
        records=any(map(_has_records, members)),
    )


def _members(info: types.Type) -> list[types.Type]:
    if isinstance(info, types.Metadata):
        return _members(info.type)
    if isinstance(info, types.UnionType):
        return [member for alternative in info.types for member in _members(alternative)]
    return [info]


def _choices(info: types.Type) -> list[Any]:
    if isinstance(info, types.LiteralType):
        return list(info.values)
    return [member.value for member in info.cls] if isinstance(info, types.EnumType) else []


_SCALARS: dict[Any, type] = {
    types.IntType: int, types.FloatType: float, types.BoolType: bool, types.NoneType: NoneType,
    types.StrType: str,
}  # fmt: skip


def _scalars(info: types.Type) -> set[type]:
    """Return the types of the values of a type: numbers, booleans, None and texts; object for any other."""
    if isinstance(info, types.LiteralType):
        return {type(value) for value in info.values}
    return {_SCALARS.get(type(info), object)}


def _items(info: types.Type) -> list[types.Type]:
    return _members(info.item_type) if isinstance(info, _LISTS) else [info]


def _is_convertible(info: types.Type) -> bool:
    if isinstance(info, types.CustomType):
        return conversion_of(info.cls) is not None
    return all(map(_is_convertible, _parts(info)))


def _has_records(info: types.Type) -> bool:
    return isinstance(info, _RECORDS) or any(map(_has_records, _parts(info)))


def _parts(info: types.Type) -> list[types.Type]:
    """Return the types of the values in a collection."""
    if isinstance(info, types.CollectionType):
        parts = [info.item_type]
    elif isinstance(info, types.TupleType):
        parts = list(info.item_types)
    elif isinstance(info, types.DictType):
        parts = [info.key_type, info.value_type]
    else:
        return []
    return [member for part in parts for member in _members(part)]


def _class_of(info: types.Type) -> Any:
    return info.cls if isinstance(info, types.CustomType) else None


def _result(function: Callable[..., Any], returns: Any) -> tuple[Any, bool]:
    """Return the type of the result, or of each item of a stream, and True if it is a stream."""
    # Annotations are any values, so they are not compared by `==`.
    origin = typing.get_origin(returns)
    if any(kind is origin or kind is returns for kind in _STREAMS):
        inner = typing.get_args(returns)
        return Kind.empty if not inner or _is_quoted(inner[0]) else inner[0], True
    plain = inspect.unwrap(function)
    streams = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    unknown = streams or _is_quoted(returns) or _is_response_tuple(returns)
    return Kind.empty if unknown else returns, streams


def _scalar_form(kind: Any) -> Literal["text", "json"] | None:
    """Return the form of values of a type whose values are all numbers, booleans, strings or None."""
    try:
        members = [] if kind is Kind.empty else _members(types.type_info(kind))
    except Exception:
        return None
    kinds = {kind for member in members for kind in _scalars(member)} - {NoneType}
    if not kinds or not kinds <= {int, float, bool, str}:
        return None
    return "text" if kinds == {str} else "json"


def _is_quoted(kind: Any) -> bool:
    """Return True for a type that is sent as a JSON string while its schema is that of plain text."""
    # Before Python 3.11, `list[int]` passes for an instance of `type`, and is no class.
    is_class = isinstance(kind, type) and typing.get_origin(kind) is None
    return is_class and issubclass(kind, (datetime.datetime, datetime.time, *FROM_TEXT))


def _is_response_tuple(kind: Any) -> bool:
    """Return True for the type of a tuple that may be `(body, status)`, `(body, headers)` or all three."""
    inner = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    if len(inner) not in (2, 3):
        return False
    second = inner[0 if inner[1] is ... else 1]
    return not any(second is plain for plain in (str, bytes, bool, float))
