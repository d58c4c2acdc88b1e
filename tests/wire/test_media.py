"""owt.wire.media: files of NumPy's format."""

from __future__ import annotations

import io

import numpy as np
import pytest

from owt.wire.media import media_type, npy


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="f4").reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(24).reshape(2, 3, 4)[:, ::2, 1],
        np.array(["2020-01-01"], "M8[D]"),
        np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
        np.array([1], ">i4"),
        np.array(3.5),
        np.zeros((0, 2)),
        np.ma.array([1, 2]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_is_a_file_that_numpy_reads(array):
    data = b"".join(npy(array))
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    assert (media_type(data), loaded.dtype, loaded.shape) == ("application/x-npy", array.dtype, array.shape)
    np.testing.assert_array_equal(loaded, array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_elements_of_a_contiguous_array_are_not_copied(order):
    array = np.zeros((2, 3), order=order)
    _, elements = npy(array)
    array[0, 0] = 1.5
    assert np.frombuffer(elements)[0] == 1.5


@pytest.mark.parametrize(
    ("array", "words"),
    [(np.array([{}]), r"send its \.tolist"), (np.ma.array([1, 2], mask=[0, 1]), "its mask would be lost")],
)
def test_an_array_that_such_a_file_would_change_is_refused(array, words):
    with pytest.raises(ValueError, match=words):
        npy(array)
