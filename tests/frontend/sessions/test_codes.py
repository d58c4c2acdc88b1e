"""owt.frontend.sessions.codes: which codes a kernel has been given."""

from owt.frontend.sessions.codes import CODES_KNOWN, Codes


def test_a_code_that_was_given_is_known_until_there_is_another_kernel() -> None:
    codes = Codes()
    codes.add("1 + 1")
    assert "1 + 1" in codes
    assert "1 + 2" not in codes
    codes.clear()
    assert "1 + 1" not in codes


def test_a_call_without_code_has_none_that_is_known() -> None:
    codes = Codes()
    codes.add(None)
    assert None not in codes


def test_the_oldest_codes_are_forgotten() -> None:
    codes = Codes()
    for n in range(CODES_KNOWN + 1):
        codes.add(str(n))
    assert "0" not in codes
    assert "1" in codes
