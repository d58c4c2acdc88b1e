"""Table of known runs: ids that clients choose. The rest of the table is tested with runs."""

from __future__ import annotations

import pytest

from owt.errors import AnswerLost, RunTaken
from owt.frontend.runs import table
from owt.frontend.runs.claims import Claim, without_boundary
from owt.frontend.runs.runs import Run
from owt.frontend.runs.table import Runs
from owt.testing.kernel import HEAD, new_call
from owt.wire.call import UNKNOWN_SIZE, RequestFacts
from owt.wire.chunk import Data, Done

ID = "client-chosen"


def new_claim(
    body: bytes = b"1", id: str = ID, *, size: int = 0, content_type: str = "text/x-python"
) -> Claim:
    facts = RequestFacts("POST", "/", "", (), body, "localhost", input_size=size)
    return Claim(id, facts, content_type, None)


def new_runs(retention: float = 60, max_ended: int = 100) -> Runs:
    return Runs(retention=retention, journal=1000, journal_total=10_000, window=1000, max_ended=max_ended)


def create(runs: Runs, claim: Claim | None, user: str | None = None) -> Run:
    run = runs.create(new_call(), claim)
    run.user = user
    return run


def end(run: Run) -> None:
    run.feed([HEAD, Data(b"x", "text"), Done(200, 0.1)])


def test_a_repeated_request_finds_the_live_and_the_ended_run() -> None:
    runs = new_runs()
    assert runs.claimed(new_claim(), None) is None
    run = create(runs, new_claim())
    assert (run.id, run.resumable) == (ID, True)
    assert runs.claimed(new_claim(), None) is run
    end(run)
    assert runs.claimed(new_claim(), None) is run


@pytest.mark.parametrize("user", [None, "bob"])
def test_another_users_run_is_refused_like_another_call(user: str | None) -> None:
    runs = new_runs()
    create(runs, new_claim(), "ada")
    with pytest.raises(RunTaken) as of_user:
        runs.claimed(new_claim(), user)
    with pytest.raises(RunTaken) as of_call:
        runs.claimed(new_claim(b"2"), "ada")
    assert str(of_user.value) == str(of_call.value)


def test_a_run_whose_id_the_server_generated_cannot_be_repeated() -> None:
    runs = new_runs()
    run = create(runs, None)
    with pytest.raises(RunTaken):
        runs.claimed(new_claim(id=run.id), None)


def test_an_id_is_free_again_after_the_retention() -> None:
    runs = new_runs(retention=0)
    end(create(runs, new_claim()))
    assert runs.claimed(new_claim(), None) is None


def test_the_id_of_a_run_that_was_dropped_early_does_not_run_again() -> None:
    runs = new_runs(max_ended=1)
    end(create(runs, new_claim(), "ada"))
    end(create(runs, None))
    assert runs.get(ID) is None
    with pytest.raises(AnswerLost):
        runs.claimed(new_claim(), "ada")
    with pytest.raises(RunTaken):
        runs.claimed(new_claim(), "bob")


def test_the_ids_of_dropped_runs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MAX_DROPPED", 2)
    runs = new_runs(max_ended=0)
    for number in range(4):
        end(create(runs, new_claim(id=f"client-{number}")))
        runs.prune()
    assert runs.claimed(new_claim(id="client-0"), None) is None
    with pytest.raises(AnswerLost):
        runs.claimed(new_claim(id="client-3"), None)


def test_the_digest_of_a_body_that_comes_in_parts_is_that_of_the_whole() -> None:
    whole, parts, broken = new_claim(b"onetwo"), new_claim(b"", size=6), new_claim(b"", size=UNKNOWN_SIZE)
    for part in (b"one", b"two"):
        parts.add(part)
        broken.add(part)
    parts.complete()
    assert parts.is_same_call(whole)
    assert not broken.is_same_call(whole)
    assert not broken.is_same_call(broken)


def test_a_run_whose_body_broke_off_says_so() -> None:
    runs = new_runs()
    create(runs, new_claim(b"", size=6))
    with pytest.raises(RunTaken, match="has not come as a whole"):
        runs.claimed(new_claim(b"onetwo"), None)


def test_boundaries_of_forms_do_not_count() -> None:
    bodies = [b"--%s\r\nname\r\n\r\nvalue\r\n--%s--" % (mark, mark) for mark in (b"one", b"two")]
    first, second = [new_claim(body, content_type="multipart/form-data; boundary=x") for body in bodies]
    assert first.is_same_call(second)
    assert without_boundary(b"--no boundary") == b"--no boundary"
    comments = [new_claim(b"--%s\r\nselect 1" % text, content_type="text/sql") for text in (b"one", b"two")]
    assert not comments[0].is_same_call(comments[1])
