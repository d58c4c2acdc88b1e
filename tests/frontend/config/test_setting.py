"""owt.frontend.config.setting: parsers and bounds of settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owt.errors import ConfigError
from owt.frontend.config.setting import (
    Setting,
    optional,
    read_seconds,
    read_size,
    read_switch,
    read_whole,
)

read_seconds_or_never = optional(read_seconds, "never")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1b", 1),
        ("4m", 4 * 2**20),
        ("4M", 4 * 2**20),
        ("4MB", 4 * 2**20),
        (" 256 MiB ", 256 * 2**20),
        ("1.5k", 1536),
        ("2GiB", 2**31),
        ("1t", 2**40),
    ],
)
def test_units_of_sizes_are_powers_of_1024(text, count):
    assert read_size(text) == count


@given(st.integers(0, 10**18 - 1))
def test_a_size_in_bytes_is_exact(count):
    assert read_size(str(count)) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 5.0),
        ("5s", 5.0),
        ("0.25", 0.25),
        ("250ms", 0.25),
        ("10m", 600.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1 H", 3600.0),
    ],
)
def test_times_have_units(text, seconds):
    assert read_seconds(text) == seconds
    assert read_seconds_or_never(text) == seconds


def test_never_is_read_as_none():
    assert read_seconds_or_never("Never") is None


@pytest.mark.parametrize("read", [read_size, read_seconds, read_seconds_or_never, read_switch, read_whole])
@given(text=st.text(alphabet="0123456789.kmgtsbhi+-einfa _", max_size=12))
def test_any_text_is_accepted_or_refused_with_a_hint(read, text):
    problem = ""
    try:
        read(text)
    except ValueError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("give ")


def test_bounds_refuse_infinity_and_nan():
    row = Setting("wait", "Wait", read_seconds, "TIME", "1s", low=0, high=10)
    with pytest.raises(ConfigError, match=r"^--wait: give a number from 0 to 10; got inf$"):
        row.value(float("inf"), row.option)
    with pytest.raises(ConfigError, match="got nan"):
        row.value(float("nan"), row.option)


def test_option_and_variable_derive_from_the_name():
    row = Setting("pool_max", "Maximum number of kernels", read_whole, "N", "4")
    assert (row.option, row.variable) == ("--pool-max", "OWT_POOL_MAX")
