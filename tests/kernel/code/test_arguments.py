"""owt.kernel.code.arguments: the text of kwargs to arguments, and arguments to a function's signature."""

from __future__ import annotations

import functools
import gc
import json
import weakref
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owt.errors import BadRequest
from owt.kernel.code import arguments
from owt.kernel.code.arguments import Arguments, call_arguments, evaluate
from owt.summat import MISSING

# Text to arguments


@pytest.mark.parametrize(
    "text", [None, "", "  \n", "{}", "dict()", "null", " null ", "None", "print(end='')", "'None'"]
)
def test_no_text_null_and_an_empty_mapping_are_no_arguments(text: str | None) -> None:
    assert evaluate(text, {}) == Arguments({}, MISSING)


@pytest.mark.parametrize(
    ("text", "kwargs"),
    [
        (
            '{"name": "owt", "n": 1, "on": true, "off": null}',
            {"name": "owt", "n": 1, "on": True, "off": None},
        ),
        ("{'name': 'owt', 'on': True}", {"name": "owt", "on": True}),
        ("dict(a=1,\n  b=2)", {"a": 1, "b": 2}),
        ("  {'a': x + 1}", {"a": 42}),
        ("{**{'a': 1}, 'b': [x for x in (1, 2)]}", {"a": 1, "b": [1, 2]}),
        ('{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        ('{"a": 1e400}', {"a": float("inf")}),
        ('{"__last__": 1}', {"__last__": 1}),
        ('{"ключ": "é"}', {"ключ": "é"}),
        ("proxy", {"p": 1}),
        ("user", {"u": 1}),
        ("ordered", {"o": 1}),
    ],
)
def test_a_mapping_becomes_keyword_arguments(text: str, kwargs: dict[str, Any]) -> None:
    names = {
        "x": 41,
        "proxy": MappingProxyType({"p": 1}),
        "user": UserDict(u=1),
        "ordered": OrderedDict(o=1),
    }
    result = evaluate(text, names)
    assert result == Arguments(kwargs, MISSING)
    assert type(result.kwargs) is dict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("[1, 2]", [1, 2]),
        ("1, 2", (1, 2)),
        ("x", 41),
        ("{1, 2}", {1, 2}),
        ("b'bytes'", b"bytes"),
        ("[('a', 1)]", [("a", 1)]),
    ],
)
def test_a_value_that_is_no_mapping_is_the_one_value(text: str, value: object) -> None:
    assert evaluate(text, {"x": 41}) == Arguments({}, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"hello"', Arguments({}, "hello")),
        ('"hello, world"', Arguments({}, "hello, world")),
        ('"two words"', Arguments({}, "two words")),
        ('""', Arguments({}, "")),
        ('" "', Arguments({}, " ")),
        ('"1) + (2"', Arguments({}, "1) + (2")),
        ('"2024-01-01"', Arguments({}, "2024-01-01")),
        ('"await x"', Arguments({}, "await x")),
        ('"yield"', Arguments({}, "yield")),
        ('"1 + 1"', Arguments({}, 2)),
        ('"x + 1"', Arguments({}, 42)),
        ('"x + y"', Arguments({}, "x + y")),
        ("\"[len(w) for w in ('a', 'bc')]\"", Arguments({}, [1, 2])),
        (json.dumps(json.dumps({"a": 1})), Arguments({"a": 1})),
        ("'dict(a=x)'", Arguments({"a": 41})),
        ("str('x')", Arguments({}, 41)),
        ("'\"x\"'", Arguments({}, "x")),
        (json.dumps("\0"), Arguments({}, "\0")),
        (json.dumps("(" * 1000), Arguments({}, "(" * 1000)),
        (json.dumps("-" * 100_000 + "1"), Arguments({}, "-" * 100_000 + "1")),
    ],
)
def test_a_string_that_is_an_expression_of_known_names_is_evaluated_again(
    text: str, expected: Arguments
) -> None:
    assert evaluate(text, {"x": 41}) == expected


def test_strings_inside_a_mapping_are_not_evaluated() -> None:
    assert evaluate('{"a": "x", "b": "1 + 1"}', {"x": 41}).kwargs == {"a": "x", "b": "1 + 1"}


def test_an_expression_changes_none_of_the_sessions_names() -> None:
    names: dict[str, Any] = {"x": 1}
    assert evaluate("[x := 2, (y := 3), x + y]", names) == Arguments({}, [2, 3, 5])
    assert names == {"x": 1}


def test_functions_in_an_expression_see_the_sessions_names() -> None:
    assert evaluate("{'f': lambda: [x for _ in 'a']}", {"x": 1}).kwargs["f"]() == [1]


@pytest.mark.parametrize(
    "text",
    [
        *("{", "a b", '{"a": }', "x = 1", "1) + (2", "# nothing", "{'a': 1} x", "\0", "\ud800", "'"),
        *("(" * 1000, "return 1", "yield", "await f()", "import os", "=\n"),
    ],
)
def test_unreadable_kwargs_are_an_error_with_the_field_and_the_text(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^kwargs: is neither JSON nor a Python expression; got ") as caught:
        evaluate(text, {})
    assert caught.value.field == "kwargs"
    assert caught.value.status == 400
    assert 'Send {"name": "value"}' in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_question_of_pythons_parser_ends_its_sentence() -> None:
    with pytest.raises(BadRequest, match=r"Perhaps you forgot a comma\? Send \{"):
        evaluate("{'a': 1 'b'}", {})


@pytest.mark.parametrize("text", ["[", " [", "{1: [2}", "f(1", "(1,\n2", "[1\n"])
def test_the_message_of_an_open_bracket_is_about_a_bracket_of_the_text(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        evaluate(text, {})
    message = str(caught.value)
    assert "')'" not in message
    assert "was never closed" in message or "does not match opening parenthesis '['" in message


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "-" * 100_000 + "1", "[1]" + "[0]" * 50_000],
)
def test_deeply_nested_kwargs_are_a_bad_request(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^kwargs: is nested too deeply; got "):
        evaluate(text, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "evaluating it raised ZeroDivisionError: division by zero; got '1 / 0'"),
        ('"1 / 0"', "evaluating it raised ZeroDivisionError"),
        ("{'a': hello}", "raised NameError: name 'hello' is not defined; .*Put text in quotes"),
        ("[].append(1, 2)", "raised TypeError: list.append"),
        ("fail()", "raised Unprintable: a message that cannot be shown"),
        ("int('x' * 900)", r"raised ValueError: invalid literal .*xxx \.\.\.; got"),
        ("{[]: 1}", "raised TypeError: .*unhashable"),
        ("(lambda f: f(f))(lambda f: f(f))", "raised RecursionError"),
        ("int('9' * 5000)", r"raised ValueError: Exceeds the limit"),
        ("{'a': 1, 2: 3}", "keys are names of arguments, and one is of type int; got 2"),
        ("{('a',): 1}", r"one is of type tuple; got \('a',\)"),
        ("broken", "reading the mapping raised OSError: disk"),
    ],
)
def test_an_expression_without_arguments_is_an_error_with_the_reason(text: str, message: str) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError

    class Broken(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            raise OSError("disk")

        def __iter__(self) -> Iterator[str]:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    def fail() -> None:
        raise Unprintable

    with pytest.raises(BadRequest, match=f"^kwargs: .*{message}"):
        evaluate(text, {"fail": fail, "broken": Broken()})


def test_an_interrupt_while_evaluating_is_not_a_bad_request() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate("interrupt()", {"interrupt": interrupt})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_json_object_evaluates_to_its_kwargs(value: dict[str, Any]) -> None:
    assert evaluate(json.dumps(value), {}) == Arguments(value)
    assert evaluate(json.dumps(value, ensure_ascii=False, indent=1), {}) == Arguments(value)


@given(st.dictionaries(st.text(), JSON | st.binary() | st.tuples(st.integers()), max_size=4))
def test_the_repr_of_a_dict_evaluates_to_its_kwargs(value: dict[str, Any]) -> None:
    assert evaluate(repr(value), {}) == Arguments(value)


@settings(max_examples=300)
@given(st.text(max_size=30) | st.text("()[]{}'\":,.+-*=1ax \n\\#", max_size=20))
def test_any_text_is_arguments_or_a_bad_request(text: str) -> None:
    result = outcome(lambda: evaluate(text, {"a": 1, "x": []}))
    assert isinstance(result, Arguments) or result.field == "kwargs"


def outcome(attempt: Callable[[], Any]) -> Any:
    """Return the result of `attempt`, or the BadRequest that it raises."""
    try:
        return attempt()
    except BadRequest as error:
        return error


# Arguments to a function


def plain(text: str, speed: float = 1.0) -> None: ...
def variadic(*args: int, **kwargs: int) -> None: ...
def keyword_only(a: int, *, b: int, c: int = 1) -> None: ...
def positional_only(a: int, b: int = 1, /, **kwargs: int) -> None: ...
def nothing() -> None: ...
def two(a: int, b: int) -> None: ...
async def coroutine(a: int) -> None: ...


class Model:
    def __init__(self, size: int = 1) -> None: ...
    def __call__(self, text: str) -> None: ...
    def method(self, text: str) -> None: ...

    @classmethod
    def of(cls, text: str) -> None: ...

    @staticmethod
    def static(text: str) -> None: ...


@functools.wraps(plain)
def injecting(**kwargs: Any) -> None:
    plain("injected", **kwargs)


def generator(n: int) -> Iterator[int]:
    yield n


@pytest.mark.parametrize(
    ("function", "kwargs"),
    [
        (plain, {"text": "a"}),
        (plain, {"text": "a", "speed": 2}),
        (variadic, {}),
        (variadic, {"anything": 1}),
        (keyword_only, {"a": 1, "b": 2}),
        (nothing, {}),
        (coroutine, {"a": 1}),
        (generator, {"n": 1}),
        (Model, {}),
        (Model, {"size": 1}),
        (Model(), {"text": "a"}),
        (Model().method, {"text": "a"}),
        (Model.of, {"text": "a"}),
        (Model.static, {"text": "a"}),
        (Model.method, {"self": 1, "text": "a"}),
        (functools.partial(plain, "a"), {"speed": 2}),
        (functools.partial(plain, text="a"), {}),
        (functools.partial(plain, text="a"), {"text": "b"}),
        (injecting, {"speed": 2}),
        (injecting, {}),
        (dict, {"a": 1}),
        (max, {"a": 1}),
    ],
)
def test_kwargs_that_fit_are_passed_by_name(function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
    assert call_arguments(function, Arguments(kwargs)) == ((), kwargs)


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (plain, (1,)),
        (variadic, (None,)),
        (positional_only, (1,)),
        (coroutine, ([1],)),
        (Model, (1,)),
        (Model(), ("a",)),
        (Model().method, ("a",)),
        (functools.partial(two, 1), (2,)),
        (len, ([],)),
        (str.upper, ("a",)),
        (print, (1,)),
        (int, (1,)),
    ],
)
def test_a_value_that_fits_is_the_one_positional_argument(
    function: Callable[..., Any], args: tuple[object]
) -> None:
    assert call_arguments(function, Arguments(value=args[0])) == (args, {})


@pytest.mark.parametrize(
    ("function", "kwargs", "message"),
    [
        (plain, {}, "kwargs: missing 'text'. The signature is plain(text: 'str', speed: 'float' = 1.0)"),
        (plain, {"txt": 1}, "kwargs: missing 'text', unexpected 'txt'. The signature is plain("),
        (plain, {"text": 1, "a": 2, "b": 3}, "kwargs: unexpected 'a', 'b'. The"),
        (keyword_only, {"a": 1}, "kwargs: missing 'b'. The"),
        (nothing, {"a": 1}, "kwargs: unexpected 'a'. The signature is nothing()"),
        (coroutine, {}, "kwargs: missing 'a'."),
        (Model, {"a": 1}, "kwargs: unexpected 'a'. The signature is Model(size"),
        (Model(), {}, "kwargs: missing 'text'. The signature is Model(text"),
        (Model().method, {}, "kwargs: missing 'text'."),
        (Model.method, {"text": 1}, "kwargs: missing 'self'."),
        (functools.partial(two, 1), {}, "kwargs: missing 'b'."),
        (positional_only, {"a": 1}, "kwargs: missing 'a'. The signature is positional_only(a: 'int', "),
        (positional_only, {"a": 1}, "; 'a' cannot be passed by name, send a value that is not a mapping"),
        (sorted, {"iterable": 1}, "kwargs: missing 'iterable', unexpected 'iterable'."),
        (two, {f"n{n}": n for n in range(12)}, "'n8', 'n9' ..."),
    ],
)
def test_kwargs_that_do_not_fit_are_listed_in_the_error(
    function: Callable[..., Any], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        call_arguments(function, Arguments(kwargs))
    assert message in str(caught.value)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (nothing, "a value that is not a mapping was sent, and no positional argument is accepted"),
        (injecting, "no positional argument is accepted"),
        (two, "kwargs: missing 'b'. The signature is two(a: 'int', b: 'int')"),
        (keyword_only, "kwargs: missing 'b'."),
        (functools.partial(plain, "a", 1), "no positional argument is accepted"),
    ],
)
def test_a_value_that_does_not_fit_is_a_bad_request(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        call_arguments(function, Arguments(value=1))
    assert message in str(caught.value)


def test_a_value_and_kwargs_may_come_together() -> None:
    both = Arguments({"speed": 2}, "text")
    assert call_arguments(plain, both) == (("text",), {"speed": 2})
    with pytest.raises(BadRequest, match="unexpected 'text'"):
        call_arguments(plain, Arguments({"text": 2}, "text"))


def test_a_callable_without_a_signature_accepts_any_arguments() -> None:
    class Odd:
        __signature__ = "no signature"

        def __call__(self) -> None: ...

    for function in (dict, type, Odd):
        assert call_arguments(function, Arguments({"a": 1})) == ((), {"a": 1})


def test_the_hint_omits_a_signature_whose_defaults_cannot_be_shown() -> None:
    class Secret:
        def __repr__(self) -> str:
            raise ValueError

    def function(a: int, b: object = Secret()) -> None: ...

    with pytest.raises(BadRequest, match=r"missing 'a'\. The signature is function\(\.\.\.\)"):
        call_arguments(function, Arguments())


@pytest.mark.parametrize("target", [plain, Model().method, Model()])
def test_a_function_is_inspected_once(
    target: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call_arguments(target, Arguments({"text": "a"}))
    monkeypatch.setattr(arguments, "_inspected", None)
    assert call_arguments(target, Arguments({"text": "b"})) == ((), {"text": "b"})


def test_a_function_whose_code_was_replaced_is_inspected_again() -> None:
    def function(a: int) -> None: ...

    def other(b: int) -> None: ...

    call_arguments(function, Arguments({"a": 1}))
    function.__code__ = other.__code__
    assert call_arguments(function, Arguments({"b": 1})) == ((), {"b": 1})
    function.__defaults__ = (1,)
    assert call_arguments(function, Arguments()) == ((), {})


def test_the_signature_cache_does_not_keep_functions_alive() -> None:
    def function(a: int) -> None: ...

    call_arguments(function, Arguments({"a": 1}))
    gone = weakref.ref(function)
    del function
    gc.collect()
    assert gone() is None


NAMES = st.sets(st.sampled_from("abcdefg"))
CALLABLES = [plain, variadic, keyword_only, positional_only, nothing, two, Model.of, Model(), Model]


@given(st.sampled_from(CALLABLES), NAMES | st.just({"text"}), st.booleans())
def test_arguments_are_refused_exactly_when_the_call_would_be(
    function: Callable[..., Any], names: set[str], with_value: bool
) -> None:
    sent = Arguments(dict.fromkeys(names), 1 if with_value else MISSING)
    result = outcome(lambda: call_arguments(function, sent))
    try:
        function(*((1,) if with_value else ()), **sent.kwargs)
    except TypeError:
        assert isinstance(result, BadRequest)
    else:
        assert result == ((1,) if with_value else (), sent.kwargs)
