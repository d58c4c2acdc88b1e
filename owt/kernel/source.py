"""Program text to something callable.

What a text is, is decided by parsing it, never by trying it:

    explicit    it binds `fn_name` at its top level: a module of its own, whose `fn_name` is called
    expression  it is one expression; *terse* if its leftmost name is a method of pipes, is called and
                is unknown in the session: then it is read as if `pipe().` stood before it
    cell        anything else that parses, as Python or after IPython's transform

Text that is valid Python keeps Python's meaning. Text that is not is read as if in parentheses, so
that a chain of methods may begin its lines with dots, and then through IPython's transform.

`Sources.prepare` parses and compiles, runs nothing of the text, and remembers; `Sources.load`,
`Sources.run_cell` and `Sources.run_cell_async` run it.
"""

from __future__ import annotations

import ast
import builtins
import dis
import hashlib
import inspect
import io
import linecache
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

from owt.errors import BadRequest, shortened

FILENAME = "<adaptor "
"""How the file name of every code object begins that was compiled from a call's text."""

EXPRESSIONS = 512
OTHERS = 128
UNREADABLE = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)
"""What Python's parser and compiler raise for one text or another."""

_OF_THE_CALL = frozenset({"request", "state"})
_BUILTINS = frozenset(dir(builtins))
_ABSENT = object()


class SyntaxFault(BadRequest):
    """The code is neither Python nor an IPython cell. `line` counts from 1, or is None."""

    title = "syntax error"

    def __init__(self, problem: str, line: int | None = None, excerpt: str = "") -> None:
        self.line = line
        where = f"line {line}: " if line is not None else ""
        super().__init__("code", where + problem + (f"\n{excerpt}" if excerpt else ""))


class NoSuchFunction(BadRequest):
    """The session holds no function of the name that the call asks for."""

    status = 404
    title = "no such function"


class Program:
    """A text compiled to be a module of its own and, once that has run, the module.

    The module is in `sys.modules` from before its top level runs, so that dataclasses, pickles and
    type hints find it. The text's lines are in `linecache` for as long as the program is remembered.
    """

    __slots__ = ("_keeps", "_kept", "_lock", "code", "filename", "module", "name", "text")

    def __init__(self, text: str, code: CodeType, *, keeps: bool = True) -> None:
        self.text = text
        self.code = code
        self._keeps = keeps
        self.filename = code.co_filename
        self.name = f"owt_adaptor_{self.filename[len(FILENAME) : -1]}"
        self.module: ModuleType | None = None
        self._kept: Any = _ABSENT
        self._lock = RLock()

    def run(self, given: Callable[[], Mapping[str, Any]]) -> ModuleType:
        """The module, whose top level runs now unless it ran before. `given` makes its first globals.

        Raises whatever the top level raises; the next call then runs it again.
        """
        with self._lock:
            if self.module is None:
                with self._entered(given) as module:
                    exec(self.code, module.__dict__)
                self.module = module
            return self.module

    def value(self, given: Callable[[], Mapping[str, Any]]) -> Any:
        """The value of a program that is an expression; if it `keeps`, one that is callable is kept.

        A value that cannot be called is an answer, and made anew each time. Several threads wait
        for the first evaluation, which may load a model, and not for later ones.
        """
        kept, module = self._kept, self.module
        if kept is not _ABSENT:
            return kept
        if module is not None:
            return self._keep(eval(self.code, module.__dict__))
        with self._lock:
            if self.module is None:
                with self._entered(given) as module:
                    value = self._keep(eval(self.code, module.__dict__))
                self.module = module
                return value
        return self.value(given)

    def drop(self) -> None:
        """Take the module and the text's lines out of Python's registries."""
        module, self.module, self._kept = self.module, None, _ABSENT
        if module is not None and sys.modules.get(self.name) is module:
            del sys.modules[self.name]
        linecache.cache.pop(self.filename, None)

    def _keep(self, value: Any) -> Any:
        if self._keeps and callable(value):
            self._kept = value
        return value

    @contextmanager
    def _entered(self, given: Callable[[], Mapping[str, Any]]) -> Iterator[ModuleType]:
        """A fresh module in `sys.modules`, which leaves it again if the block raises."""
        module = ModuleType(self.name)
        module.__file__ = self.filename
        module.__dict__.update(given())
        sys.modules[self.name] = module
        try:
            yield module
        except BaseException:
            if sys.modules.get(self.name) is module:
                del sys.modules[self.name]
            raise


@dataclass(frozen=True, slots=True, eq=False)
class Explicit:
    """Text that binds `fn_name`, among the names `binds`, at its top level."""

    fn_name: str
    binds: frozenset[str]
    program: Program


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """Text that is one expression.

    `plain` is its code as written. `head` is the name that makes it terse while the session does not
    know it, and `program` then stands for the text with `pipe()` before it. `free` are the names that
    it takes from outside, and `usual` those of them that are builtins or given to all code.
    """

    program: Program
    plain: CodeType
    head: str | None
    free: frozenset[str]
    usual: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Text that runs in the session's namespace: `body`, then `last`, whose value is the answer.

    Either may be missing. With `awaits`, the text awaits at its top level.
    """

    filename: str
    body: CodeType | None
    last: CodeType | None
    awaits: bool


Prepared = Explicit | Expression | Cell


@dataclass(slots=True, eq=False)
class _Text:
    """What is known of one text: as explicit code, by `fn_name`, and as anything else."""

    binds: frozenset[str]
    explicit: dict[str, Explicit] = field(default_factory=dict)
    other: Expression | Cell | None = None

    def drop(self) -> None:
        for program in {explicit.program for explicit in self.explicit.values()}:
            program.drop()
        match self.other:
            case Expression(program=program):
                program.drop()
            case Cell() as cell if not _defines(cell.body) and not _defines(cell.last):
                # Functions that a cell left in the session still want their lines.
                linecache.cache.pop(cell.filename, None)


class _Recent(OrderedDict[str, _Text]):
    """Texts, the least recently used of which is dropped past `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def find(self, code: str) -> _Text | None:
        text = self.get(code)
        if text is not None:
            self.move_to_end(code)
        return text

    def keep(self, code: str, text: _Text) -> None:
        self[code] = text
        self.move_to_end(code)
        if len(self) > self._limit:
            self.popitem(last=False)[1].drop()


class Sources:
    """The texts that one kernel knows, and the modules that it has loaded from them.

    `namespace` is the session's; `injected` are the names that all code has without import, added to
    `namespace` where it lacks them; `pipe_methods` are the names that make an expression terse;
    `transform` is the IPython shell's `transform_cell`. Safe to use from several threads.

    Modules of explicit code live until they are forgotten, 512 expressions and 128 cells are remembered.
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        injected: Mapping[str, Any],
        pipe_methods: frozenset[str],
        transform: Callable[[str], str],
    ) -> None:
        self._namespace = namespace
        self._injected = dict(injected)
        self._heads = pipe_methods - _BUILTINS - self._injected.keys()
        self._transform = transform
        # IPython puts its own `open`, `exit` and `quit` into a fresh namespace.
        self._first = {name: value for name, value in namespace.items() if self._usual(name)}
        self._loaded: dict[str, _Text] = {}
        self._expressions = _Recent(EXPRESSIONS)
        self._others = _Recent(OTHERS)
        self._lock = RLock()
        self._share()

    def prepare(self, code: str, fn_name: str) -> Prepared:
        """What `code` is when `fn_name` is to be called. Runs nothing of it.

        Raises `SyntaxFault` for text that is neither Python nor an IPython cell.
        """
        text = self._loaded.get(code)
        if text is not None:
            explicit = text.explicit.get(fn_name)
            if explicit is not None:
                return explicit
        with self._lock:
            text = text or self._expressions.find(code) or self._others.find(code)
            if text is not None:
                found = text.explicit.get(fn_name) if fn_name in text.binds else text.other
                if found is not None:
                    return found
            try:
                return self._prepare(code, fn_name, text)
            except UNREADABLE as error:
                raise _fault(error, code) from error

    def load(self, prepared: Explicit | Expression) -> Any:
        """Run what was prepared, unless it ran before: what to call or, if not callable, the answer.

        For explicit code, its function, always callable. For an expression, its value: in the
        session's namespace, each time, if it uses a name that the session knows; otherwise in a
        module of its own, and only once if it is callable and was made without looking at `request`
        or `state`. Raises what the code raises, and `BadRequest` if explicit code ran and did not
        bind its function after all.
        """
        if isinstance(prepared, Expression):
            return self._evaluate(prepared)
        program = prepared.program
        module = program.module or self._run(program)
        function = module.__dict__.get(prepared.fn_name, _ABSENT)
        if callable(function):
            return function
        problem = (
            f"the code binds it to {shortened(function)}, which cannot be called"
            if function is not _ABSENT
            else "the code names it at its top level, but ran without binding it"
        )
        there = [name for name in sorted(prepared.binds) if callable(module.__dict__.get(name))]
        raise BadRequest("fn_name", problem, prepared.fn_name, hint=_offer("The code defines", there))

    def run_cell(self, cell: Cell) -> Any:
        """The value of a cell that does not await: of its last expression, else None."""
        self._share()
        if cell.body is not None:
            exec(cell.body, self._namespace)
        return None if cell.last is None else eval(cell.last, self._namespace)

    async def run_cell_async(self, cell: Cell) -> Any:
        """The value of any cell, awaiting what it awaits at its top level."""
        self._share()
        value = None
        for code in filter(None, (cell.body, cell.last)):
            value = eval(code, self._namespace)
            if _awaits(code):
                value = await value
        return None if cell.last is None else value

    def named(self, fn_name: str) -> Callable[..., Any]:
        """The session's function of this name. Raises `NoSuchFunction`, which lists those there are."""
        found = self._namespace.get(fn_name, _ABSENT)
        if callable(found):
            return found  # type: ignore[no-any-return]
        problem = "the session has no such function"
        if found is not _ABSENT:
            problem = f"the session binds it to {shortened(found)}, which cannot be called"
        there = [
            name
            for name, value in sorted(self._namespace.items())
            if callable(value) and not name.startswith("_") and not self._usual(name)
        ]
        raise NoSuchFunction("fn_name", problem, fn_name, hint=_offer("The session has", there))

    def forget(self, code: str) -> None:
        """Drop what was made of `code`; the next call prepares and loads it again."""
        with self._lock:
            for texts in (self._loaded, self._expressions, self._others):
                text = texts.pop(code, None)
                if text is not None:
                    text.drop()

    def _prepare(self, code: str, fn_name: str, text: _Text | None) -> Prepared:
        source, tree, expression = _parse(code, self._transform)
        text = text or _Text(frozenset(_bound(tree)))
        if fn_name in text.binds:
            other = next(iter(text.explicit.values()), None)
            if other is not None:
                explicit = replace(other, fn_name=fn_name)
            else:
                filename = _filename("explicit", code)
                compiled = compile(tree, filename, "exec", dont_inherit=True)
                _show(filename, source)
                explicit = Explicit(fn_name, text.binds, Program(code, compiled))
            text.explicit[fn_name] = explicit
            if code not in self._loaded and code not in self._expressions:
                self._others.keep(code, text)
            return explicit
        if expression is not None:
            # Top-level await makes it a cell, and any other fault shows up there again.
            with suppress(SyntaxError):
                text.other = self._expression(code, source, expression)
        if text.other is None:
            text.other = _cell(code, source, tree)
        if code not in self._loaded:
            self._others.pop(code, None)
            (self._expressions if isinstance(text.other, Expression) else self._others).keep(code, text)
        return text.other

    def _expression(self, code: str, source: str, expression: ast.expr) -> Expression:
        filename = _filename("expression", code)
        plain = compiled = compile(ast.Expression(expression), filename, "eval", dont_inherit=True)
        head = None
        match _leftmost_call(expression):
            case ast.Call(func=ast.Name(id=name)) as call if name in self._heads:
                head = name
                call.func = _after_pipe(name, call)
                compiled = compile(ast.Expression(expression), filename, "eval", dont_inherit=True)
        _show(filename, source)
        free = free_names(plain)
        usual = frozenset(filter(self._usual, free))
        # What reads this call's request while it is evaluated is of no use to the next call.
        keeps = _OF_THE_CALL.isdisjoint(free_names(plain, lambdas=False))
        return Expression(Program(code, compiled, keeps=keeps), plain, head, free - usual, usual)

    def _evaluate(self, expression: Expression) -> Any:
        namespace = self._namespace
        if namespace.keys().isdisjoint(expression.free) and not any(map(self._changed, expression.usual)):
            return expression.program.value(self._given)
        self._share()
        return eval(expression.plain if expression.head in namespace else expression.program.code, namespace)

    def _run(self, program: Program) -> ModuleType:
        self._pin(program.text)
        try:
            module = program.run(self._given)
        except BaseException:
            # Its lines stay for the traceback until other texts crowd it out.
            with self._lock:
                text = self._loaded.pop(program.text, None)
                if text is not None:
                    self._others.keep(program.text, text)
            raise
        # Another thread's attempt may have failed, and unpinned it, since.
        self._pin(program.text)
        return module

    def _pin(self, code: str) -> None:
        with self._lock:
            text = self._expressions.pop(code, None) or self._others.pop(code, None)
            if text is not None:
                self._loaded[code] = text

    def _usual(self, name: str) -> bool:
        return name in _BUILTINS or name in self._injected or name == "get_ipython"

    def _changed(self, name: str) -> bool:
        """Whether the session has given a builtin or an injected name a meaning of its own."""
        value = self._namespace.get(name, _ABSENT)
        return (
            value is not _ABSENT
            and value is not self._injected.get(name, _ABSENT)
            and value is not getattr(builtins, name, _ABSENT)
            and value is not self._first.get(name, _ABSENT)
        )

    def _given(self) -> dict[str, Any]:
        """The first globals of a module: the injected names, and what IPython's transform writes."""
        shell = self._namespace.get("get_ipython")
        return self._injected if shell is None else {**self._injected, "get_ipython": shell}

    def _share(self) -> None:
        """Give the session the injected names that it lacks; `%reset` takes them away."""
        for name, value in self._injected.items():
            if name not in self._namespace:
                self._namespace[name] = value


def parse_expression(text: str) -> ast.expr:
    """`text` as one expression, read as if it stood in parentheses.

    Raises one of `UNREADABLE`. The position of a SyntaxError is that in `text`, or just before it if
    the text left a bracket open.
    """
    try:
        tree = ast.parse(f"({text}\n)", mode="eval").body
        # A text that closes its own surroundings, `1) + (2`, can fit one kind of bracket only.
        ast.parse(f"[{text}\n]", mode="eval")
    except SyntaxError as error:
        if error.lineno == 1 and error.offset is not None:
            error.offset -= 1
        raise
    if isinstance(tree, ast.Tuple) and not tree.elts and tree.lineno == 1 and tree.col_offset == 0:
        raise SyntaxError("there is no expression", (None, 1, 1, text))
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.keyword | ast.arg):
            if node.lineno == 1:
                node.col_offset = max(0, node.col_offset - 1)
            if node.end_lineno == 1 and node.end_col_offset is not None:
                node.end_col_offset = max(node.col_offset, node.end_col_offset - 1)
    return tree


def free_names(code: CodeType, *, lambdas: bool = True) -> frozenset[str]:
    """The names that an expression's code takes from outside, builtins among them.

    A name that the expression itself assigns (`:=`) is free if it is read before that. Without
    `lambdas`, only names that are read while the expression itself is evaluated.
    """
    free: set[str] = set()
    assigned: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            assigned.add(instruction.argval)
        elif instruction.opname == "LOAD_NAME" and instruction.argval not in assigned:
            free.add(instruction.argval)
    inner: set[str] = set()
    for nested in _nested(code, lambdas):
        for instruction in dis.get_instructions(nested):
            if instruction.opname == "LOAD_GLOBAL":
                inner.add(instruction.argval)
            elif instruction.opname == "STORE_GLOBAL":
                assigned.add(instruction.argval)
    return frozenset(free | (inner - assigned))


def _nested(code: CodeType, lambdas: bool) -> Iterator[CodeType]:
    pending = [code]
    while pending:
        inner = [const for const in pending.pop().co_consts if isinstance(const, CodeType)]
        inner = [nested for nested in inner if lambdas or nested.co_name != "<lambda>"]
        yield from inner
        pending += inner


def _parse(code: str, transform: Callable[[str], str]) -> tuple[str, ast.Module, ast.expr | None]:
    """The Python text that `code` stands for, its tree, and the expression if it is just one."""
    _check_characters(code)
    code = code.removeprefix("\ufeff")
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        fault = error
    else:
        match tree.body:
            case [ast.Expr(value=expression)]:
                return code, tree, expression
        return code, tree, None
    try:
        expression = parse_expression(code)
    except SyntaxError as error:
        fault = _later(fault, _without_ours(error, fault, code))
    else:
        statement = ast.copy_location(ast.Expr(expression), expression)
        return code, ast.Module([statement], []), expression
    source = ""
    try:
        source = transform(code)
        return source, ast.parse(source), None
    except SyntaxError as error:
        raise _later(fault, _in_lines_of(code, source, error)) from None
    except Exception:
        raise fault from None


def _check_characters(code: str) -> None:
    at = code.find("\0")
    if at >= 0:
        raise SyntaxFault("the code holds a NUL character", code.count("\n", 0, at) + 1)
    try:
        code.encode()
    except UnicodeEncodeError as error:
        problem = f"the code holds {code[error.start]!r}, half of a surrogate pair, which is not a character"
        raise SyntaxFault(problem, code.count("\n", 0, error.start) + 1) from None


def _bound(tree: ast.Module) -> Iterator[str]:
    """The names that a module's top level binds, in whichever branch, if it gets there."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        children: list[ast.AST] = list(ast.iter_child_nodes(node))
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
                # Decorators, defaults and bases belong to the top level, the body does not.
                children = [child for child in children if not isinstance(child, ast.stmt)]
            case ast.Lambda():
                children = [node.args]
            case ast.comprehension():
                children = [node.iter, *node.ifs]
            case ast.alias(name=name, asname=alias):
                yield alias or name.partition(".")[0]
            case ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.AnnAssign(value=None, target=ast.Name()):
                children = [node.annotation]
            case ast.AugAssign(target=ast.Name()):
                children = [node.value]
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
        pending += children


def _leftmost_call(expression: ast.expr) -> ast.Call | None:
    """The call of the leftmost name in a chain of calls, attributes and subscripts, if it is called."""
    node = expression
    while True:
        match node:
            case ast.Call(func=ast.Name()):
                return node
            case ast.Attribute(value=left) | ast.Subscript(value=left) | ast.Call(func=left):
                node = left
            case _:
                return None


def _after_pipe(name: str, at: ast.expr) -> ast.expr:
    """`pipe().name`, where `at` is in the text."""
    pipe = ast.copy_location(ast.Name("pipe", ast.Load()), at)
    start = ast.copy_location(ast.Call(pipe, [], []), at)
    return ast.copy_location(ast.Attribute(start, name, ast.Load()), at)


def _cell(code: str, source: str, tree: ast.Module) -> Cell:
    filename = _filename("cell", code)
    allow = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    body, last = None, None
    statements = tree.body
    match statements:
        case [*before, ast.Expr(value=expression)]:
            statements = before
            last = compile(ast.Expression(expression), filename, "eval", allow, dont_inherit=True)
    if statements:
        body = compile(ast.Module(statements, []), filename, "exec", allow, dont_inherit=True)
    _show(filename, source)
    return Cell(filename, body, last, _awaits(body) or _awaits(last))


def _awaits(code: CodeType | None) -> bool:
    return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


def _defines(code: CodeType | None) -> bool:
    return code is not None and any(isinstance(const, CodeType) for const in code.co_consts)


def _filename(kind: str, code: str) -> str:
    digest = hashlib.sha1(f"{kind} {code}".encode(), usedforsecurity=False).hexdigest()
    return f"{FILENAME}{digest[:10]}>"


def _show(filename: str, source: str) -> None:
    """Let `linecache` show the lines of `source`. Without a time, the entry survives `checkcache`."""
    linecache.cache[filename] = (len(source), None, _lines(source), filename)


def _lines(source: str) -> list[str]:
    """The lines as Python counts them, which is not as `str.splitlines` does, each with its end."""
    return [line if line.endswith("\n") else line + "\n" for line in io.StringIO(source, newline=None)]


def _later(first: SyntaxError, second: SyntaxError) -> SyntaxError:
    """Of the faults of two readings, the one farther on: the other reading was wrong from its start."""
    return max(first, second, key=lambda fault: (fault.lineno or 0, fault.offset or 0))


def _without_ours(error: SyntaxError, first: SyntaxError, code: str) -> SyntaxError:
    """The fault of `code` in our parentheses as one of `code`, whose fault as a module is `first`."""
    lines = _lines(code)
    if (error.lineno, error.offset) == (1, 0):
        # Ours was never closed: what should have closed it closed one of the text's.
        try:
            ast.parse(f"({code}")
        except SyntaxError as unclosed:
            error = unclosed
            if error.lineno == 1 and error.offset is not None:
                error.offset -= 1
    if "never closed" in first.msg or ((error.lineno or 0) > len(lines) and "unmatched" in error.msg):
        return first
    if (error.lineno or 0) > len(lines):
        error.lineno, error.offset = len(lines), len(lines[-1])
    if (first.lineno or 0) > 1 and error.msg.startswith("closing") and error.msg.endswith("on line 1"):
        # As a module, line 1 is in order, so that bracket is ours.
        error.msg = f"unmatched {error.msg.split()[2]}"
    return error


def _in_lines_of(code: str, source: str, error: SyntaxError) -> SyntaxError:
    """A fault in `source`, which `code` was transformed into, as one in `code`, if the lines agree."""
    before, after = _lines(code), _lines(source)
    line = error.lineno or 0
    if len(before) != len(after) or not 0 < line <= len(before):
        return SyntaxError(error.msg)
    column = error.offset if before[line - 1] == after[line - 1] else 0
    return SyntaxError(error.msg, (None, line, column, before[line - 1]))


def _fault(error: BaseException, code: str) -> SyntaxFault:
    match error:
        case SyntaxError(lineno=int(line)) if line > 0:
            lines = _lines(code.removeprefix("\ufeff"))
            excerpt = _excerpt(lines[line - 1], error.offset or 0) if line <= len(lines) else ""
            return SyntaxFault(error.msg, min(line, len(lines)) or None, excerpt)
        case SyntaxError():
            return SyntaxFault(error.msg)
        case RecursionError() | MemoryError():
            return SyntaxFault("the code is nested too deeply to be read")
        case _:
            return SyntaxFault(f"the code cannot be read: {error}")


def _excerpt(line: str, offset: int, width: int = 80) -> str:
    """A line of code, cut to `width` around `offset` (from 1; 0 if unknown), and a caret below it."""
    line = line.rstrip()
    at = min(max(offset - 1, 0), len(line))
    start = max(len(line) - len(line.lstrip()), at - width // 2)
    shown = f"    {line[start : start + width]}"
    if offset < 1 or at < start:
        return shown
    return f"{shown}\n    {''.join(c if c == chr(9) else ' ' for c in line[start:at])}^"


def _offer(start: str, names: list[str], limit: int = 20) -> str:
    if not names:
        return f"{start} no functions"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{start}: {', '.join(names[:limit])}{more}"
