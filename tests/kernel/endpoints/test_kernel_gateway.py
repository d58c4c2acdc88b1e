"""owt.kernel.endpoints.kernel_gateway: annotated cells of served notebooks, in a runner.

The expected responses of annotated cells are those of Jupyter Kernel Gateway 3.0.1.
"""

from __future__ import annotations

import json

import pytest
from runner_bench import RunnerBench, bodies

from owt.errors import OwtError
from owt.kernel.context import build_request
from owt.kernel.endpoints.kernel_gateway import request_json, response_info
from owt.wire.call import Call, NotebookCell, RequestFacts, Target
from owt.wire.chunk import Done, Failed


def facts(body: bytes = b"", kind: str | None = None, query: str = "", **headers: str) -> RequestFacts:
    sent = [*headers.items(), *([] if kind is None else [("Content-Type", kind)])]
    return RequestFacts("POST", "/x", query, tuple(sent), body, "localhost")


def request(facts: RequestFacts) -> dict[str, object]:
    document: dict[str, object] = json.loads(request_json(build_request(facts), facts.headers, {"name": "é"}))
    return document


class TestCells:
    def test_a_cell_that_defines_run_is_not_called(self, bench: RunnerBench):
        assert bodies(bench.ask("def run(): raise ValueError", cell=NotebookCell())) == []
        assert callable(bench.names["run"])

    @pytest.mark.parametrize("code", ["x = 1\nx + 1", "import asyncio\nawait asyncio.sleep(0)\n2"])
    def test_the_value_of_a_notebook_cell_is_displayed_and_not_answered(
        self, bench: RunnerBench, capsys, code
    ):
        assert bodies(bench.ask(code, cell=NotebookCell())) == []
        assert capsys.readouterr().out == "2\n"

    @pytest.mark.parametrize("code", ["1;", "None", "x = 1"])
    def test_the_value_of_a_notebook_cell_is_not_displayed_where_a_notebook_shows_none(
        self, bench: RunnerBench, capsys, code
    ):
        bench.ask(code, cell=NotebookCell())
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("code", ["object()", "(n for n in range(3))", "1, 999, {}"])
    def test_the_value_of_a_notebook_cell_may_be_any_object(self, bench: RunnerBench, code):
        assert bench.ask(code, cell=NotebookCell())[-1].status == 200

    def test_future_imports_of_a_cell_apply_to_later_cells(self, bench: RunnerBench):
        failed, _ = bench.ask("def late(x: Later): pass\nlate.__annotations__", cell=NotebookCell())
        assert isinstance(failed, Failed)
        assert failed.exception == "NameError"
        bench.ask("from __future__ import annotations", cell=NotebookCell())
        bench.ask("def late(x: Later): pass", cell=NotebookCell())
        assert bench.names["late"].__annotations__ == {"x": "Later"}

    def test_an_error_in_a_notebook_cell_is_a_failure(self, bench: RunnerBench):
        failed, done = bench.ask("1 / 0", cell=NotebookCell())
        assert isinstance(failed, Failed)
        assert isinstance(done, Done)
        assert (failed.exception, done.status) == ("ZeroDivisionError", 500)

    def test_a_notebook_cell_that_cannot_be_parsed_is_a_syntax_failure(self, bench: RunnerBench):
        assert bench.ask("def f(:", cell=NotebookCell())[0].type == "syntax"


class TestRequest:
    def test_the_request_of_a_gateway_cell_has_a_form_as_lists(self):
        body = request(facts(b"a=1&b=2&a=3&c=", "application/x-www-form-urlencoded"))["body"]
        assert body == {"a": ["1", "3"], "b": ["2"], "c": [""]}

    @pytest.mark.parametrize(
        ("body", "kind", "expected"),
        [
            (b'{"x": [1, null]}', "application/json", {"x": [1, None]}),
            (b'{"x": 1}', "application/json; charset=utf-8", '{"x": 1}'),
            (b"not json", "application/json", "not json"),
            (b"", "application/json", ""),
            ("é".encode(), "text/plain", "é"),
            (b"untyped", None, "untyped"),
            (b"", None, ""),
        ],
    )
    def test_the_request_of_a_gateway_cell_has_other_bodies_as_text_or_json(self, body, kind, expected):
        assert request(facts(body, kind))["body"] == expected

    def test_the_request_of_a_gateway_cell_has_the_query_as_lists(self):
        assert request(facts(query="x=1&x=2&y="))["args"] == {"x": ["1", "2"], "y": [""]}

    def test_the_request_of_a_gateway_cell_has_repeated_headers_as_a_list(self):
        sent = (("X-One", "a"), ("X-Two", "1"), ("X-Two", "2"), ("X-Two", "3"))
        request_facts = RequestFacts("GET", "/x", "", sent, b"", "localhost")
        assert request(request_facts)["headers"] == {"X-One": "a", "X-Two": ["1", "2", "3"]}

    def test_the_request_of_a_gateway_cell_has_the_path_parameters(self):
        assert request(facts())["path"] == {"name": "é"}


class TestResponseInfo:
    def test_response_info_returns_headers_and_status(self):
        assert response_info('{"headers": {"x-n": 5, "content-type": "a/b"}, "status": 202}') == (
            {"X-N": "5", "Content-Type": "a/b"},
            202,
        )

    def test_response_info_may_have_neither_headers_nor_status(self):
        assert response_info("{}") == ({}, 200)

    @pytest.mark.parametrize("text", ['{"status": null, "headers": null}', '{"status": "200"}'])
    def test_response_info_defaults_to_status_200(self, text):
        assert response_info(text) == ({}, 200)

    @pytest.mark.parametrize("status", ["99", "600", '"abc"', "[200]", "true", "200.5", "1e400"])
    def test_response_info_refuses_an_invalid_status(self, status):
        with pytest.raises(OwtError, match=r"ResponseInfo cell: a status is from 200 to 599; got"):
            response_info(f'{{"status": {status}}}')

    @pytest.mark.parametrize("headers", ["[1]", '"a"', "1", '{"X-A": ["a", "b"]}', '{"X-A": null}'])
    def test_response_info_refuses_invalid_headers(self, headers):
        with pytest.raises(OwtError, match=r"ResponseInfo cell: headers are an object of texts; got"):
            response_info(f'{{"headers": {headers}}}')

    @pytest.mark.parametrize("text", ["", "no json", "[1]", "1"])
    def test_response_info_refuses_text_that_is_no_json_object(self, text):
        with pytest.raises(Exception, match="the ResponseInfo cell printed no JSON"):
            response_info(text)


def test_gateway_cells_do_not_overlap_where_calls_do(new_bench, capsys):
    bench = new_bench(concurrency=2)
    code = (
        "import asyncio\nnumber = json.loads(REQUEST)['args']['n'][0]\nprint(number)\n"
        "for _ in range(5): await asyncio.sleep(0)\nprint(json.loads(REQUEST)['args']['n'][0])\n"
    )
    bench.ask("import json", session="dev")
    bench.ask(code, cell=NotebookCell("GET", "/a", (), "/a"), session="dev")

    def at(n: int) -> Call:
        request_facts = RequestFacts("GET", "/a", f"n={n}", (), b"", "localhost")
        return Call(request_facts, session="dev", endpoint=Target("/a"))

    answers = bench.run(one=at(1), two=at(2), three=at(3))
    assert [chunks[-1].status for chunks in answers.values()] == [200, 200, 200]
    # Here stdout is not the kernel's, which would be part of the answers.
    assert capsys.readouterr().out == "1\n1\n2\n2\n3\n3\n"


def test_the_value_of_a_gateway_cell_has_pictures_in_base64(new_bench):
    bench = new_bench()
    bench.ask("class Dot:\n    def _repr_png_(self): return b'dot'", session="dev")
    bench.ask("Dot()", cell=NotebookCell("GET", "/dot", (), "/dot"), session="dev")
    request_facts = RequestFacts("GET", "/dot", "", (), b"", "localhost")
    answers = bench.run(a=Call(request_facts, session="dev", endpoint=Target("/dot")))
    assert json.loads(b"".join(bodies(answers["a"])))["image/png"].strip() == "ZG90"
