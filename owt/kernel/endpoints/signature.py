"""What a function takes and gives, as an endpoint: by its signature and annotations.

Annotations are msgspec's business: whatever it can convert has a JSON Schema and is converted. What it
does not know (a class of somebody's) is passed as it came, and described as anything.
"""

from __future__ import annotations

import datetime
import inspect
import json
import typing
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec import inspect as types

from owt.errors import EndpointError
from owt.kernel.endpoints.schemas import FROM_TEXT, default_of, schemas_of
from owt.wire.call import FIELDS
from owt.wire.endpoint import Parameter

Kind = inspect.Parameter

_STREAMS = (abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncGenerator)
_SERIES = (types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType, types.TupleType)
_BYTES = (types.BytesType, types.ByteArrayType, types.MemoryViewType)
_STRUCTURED = (
    *_SERIES,
    types.DictType,
    types.StructType,
    types.DataclassType,
    types.TypedDictType,
    types.NamedTupleType,
)


@dataclass(frozen=True, slots=True)
class Taken:
    """One parameter. `type` is its annotation; `known` whether there is one that msgspec can convert to.

    Of that, `series`, `structured`, `text`, `bytes`, `switch` and `nothing` say what may be among its
    values, or the items of several: several ones, what JSON has brackets for, any text, bytes, and None;
    or only true and false. `choices` are the only values there are, if that is what they are.
    """

    name: str
    kind: Any
    type: Any
    required: bool
    default: Any
    known: bool = False
    series: bool = False
    structured: bool = False
    text: bool = True
    bytes: bool = False
    switch: bool = False
    nothing: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """What an endpoint's function takes by name, what `**kwargs` takes (None: there is none), and how
    all of it looks to people."""

    parameters: dict[str, Taken]
    more: Taken | None
    returns: Any
    shown: str


@dataclass(frozen=True, slots=True)
class Described:
    """What is told of a signature: see `owt.wire.endpoint.Endpoint`."""

    parameters: tuple[Parameter, ...]
    result: str | None
    streams: bool
    definitions: str


def read(function: Callable[..., Any], path: str, path_names: Sequence[str]) -> Signature:
    """The signature of the function at this path. Raises `EndpointError` for one that cannot be used:
    its annotations cannot be read, a parameter is missing or has a name that is owt's."""
    name = getattr(function, "__name__", type(function).__name__)
    try:
        found = inspect.signature(function, eval_str=True)
        # Where the session's own classes come from means nothing to who calls.
        shown = str(found.replace(return_annotation=Kind.empty)).replace(f"{function.__module__}.", "")
    except Exception as error:
        raise EndpointError(
            f"{path}: the signature of {name} cannot be read: {type(error).__name__}: {error}"
        ) from error
    parameters: dict[str, Taken] = {}
    more = None
    for each in found.parameters.values():
        if each.kind is Kind.VAR_KEYWORD:
            more = _taken(each)
        elif each.kind is not Kind.VAR_POSITIONAL:
            if each.name in FIELDS and each.name not in path_names:
                raise EndpointError(
                    f"{path}: {name} has a parameter {each.name!r}, which is an option of owt's in every "
                    "request; give it another name"
                )
            parameters[each.name] = _taken(each)
    if more is None and (missing := [each for each in path_names if each not in parameters]):
        raise EndpointError(
            f"{path}: {name} has no parameter {missing[0]!r}, which the path has; write def {name}("
            f"{', '.join([*path_names, *(each for each in parameters if each not in path_names)])})"
        )
    return Signature(parameters, more, found.return_annotation, shown[1:-1] if len(shown) < 500 else "...")


def describe(function: Callable[..., Any], signature: Signature, path_names: Sequence[str]) -> Described:
    """The signature as JSON Schemas."""
    item, streams = _result(function, signature.returns)
    asked = [taken.type if taken.known else Any for taken in signature.parameters.values()]
    [*given, result], definitions = schemas_of([*asked, Any if item is Kind.empty else item])
    return Described(
        tuple(
            Parameter(
                taken.name,
                "path" if taken.name in path_names else "field",
                json.dumps(schema),
                taken.required or taken.name in path_names,
                None if taken.required else default_of(taken.default, schema, definitions),
            )
            for taken, schema in zip(signature.parameters.values(), given, strict=True)
        ),
        None if item is Kind.empty else json.dumps(result),
        streams,
        json.dumps(definitions),
    )


def _taken(parameter: inspect.Parameter) -> Taken:
    name, kind, annotation = parameter.name, parameter.kind, parameter.annotation
    required = parameter.default is Kind.empty and kind is not Kind.VAR_KEYWORD
    default = None if parameter.default is Kind.empty else parameter.default
    if default is None and not required and kind is not Kind.VAR_KEYWORD and annotation is not Kind.empty:
        # As in `text: str = None`, which means it.
        with suppress(TypeError):  # of what is no type
            annotation = annotation | None if isinstance(annotation, type) else typing.Optional[annotation]  # noqa: UP045
    try:
        members = [] if annotation is Kind.empty else _members(types.type_info(annotation))
    except Exception:
        members = []
    if not members or not all(map(_is_known, members)):
        return Taken(name, kind, annotation, required, default)
    # Of several ones, each is a text or bytes.
    single = [inner for each in members for inner in _items(each)]
    return Taken(
        name,
        kind,
        annotation,
        required,
        default,
        known=True,
        series=any(isinstance(each, _SERIES) for each in members),
        structured=any(isinstance(each, _STRUCTURED) for each in members),
        text=any(isinstance(each, (types.StrType, types.AnyType)) for each in single),
        bytes=any(isinstance(each, _BYTES) for each in single),
        switch=all(isinstance(each, (types.BoolType, types.NoneType)) for each in members),
        nothing=any(isinstance(each, types.NoneType) for each in members),
        choices=tuple(choice for each in members for choice in _choices(each)),
    )


def _members(info: types.Type) -> list[types.Type]:
    match info:
        case types.Metadata(type=inner):
            return _members(inner)
        case types.UnionType(types=several):
            return [member for each in several for member in _members(each)]
    return [info]


def _choices(info: types.Type) -> list[Any]:
    match info:
        case types.LiteralType(values=values):
            return list(values)
        case types.EnumType(cls=cls):
            return [each.value for each in cls]
    return []


def _items(info: types.Type) -> list[types.Type]:
    match info:
        case types.ListType() | types.SetType() | types.FrozenSetType() | types.VarTupleType():
            return _members(info.item_type)
    return [info]


def _is_known(info: types.Type) -> bool:
    match info:
        case types.CustomType():
            kind: Any = info.cls
            return isinstance(kind, type) and issubclass(kind, FROM_TEXT)
        case types.CollectionType(item_type=inner):
            parts = [inner]
        case types.TupleType(item_types=several):
            parts = list(several)
        case types.DictType(key_type=key, value_type=value):
            parts = [key, value]
        case _:
            return True
    return all(_is_known(member) for part in parts for member in _members(part))


def _result(function: Callable[..., Any], returns: Any) -> tuple[Any, bool]:
    """The type of what is sent, or of each item if it is a stream, and whether it is one."""
    if typing.get_origin(returns) in _STREAMS or returns in _STREAMS:
        inner = typing.get_args(returns)
        return Kind.empty if not inner or _is_quoted(inner[0]) else inner[0], True
    plain = inspect.unwrap(function)
    streams = inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
    return Kind.empty if streams or _is_quoted(returns) or _is_envelope(returns) else returns, streams


def _is_quoted(kind: Any) -> bool:
    """Whether it is sent as a JSON string, and its schema is that of a plain one."""
    return isinstance(kind, type) and issubclass(kind, (datetime.datetime, datetime.time, *FROM_TEXT))


def _is_envelope(kind: Any) -> bool:
    """Whether it may be a body with what is said of it: `(body, status)`, `(body, headers)` or all three."""
    inner = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    return len(inner) in (2, 3) and inner[0 if inner[1] is ... else 1] not in (str, bytes, bool, float)
