"""Pictures, sounds and arrays as files, from the objects that libraries have for them.

No library is imported here before a value of its own exists.
"""

from __future__ import annotations

import io
import mimetypes
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from owt.kernel.answer.json_encoding import is_array, loaded
from owt.wire import media as wire
from owt.wire.media import OCTETS, media_type

WAV = "audio/wav"

_FIGURE_FORMATS = {
    "image/png": "png",
    "image/svg+xml": "svg",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
}
_RATES = range(1_000, 1_000_000)
"""Rates of samples per second that a sound can have."""
_MAX_CHANNELS = 8


def npy(array: Any) -> bytes | None:
    """Return an array or a tensor as a file of NumPy's format; None if that would need pickle."""
    try:
        return b"".join(wire.npy(array))
    except ValueError:
        return None


def wav(value: tuple[Any, ...]) -> bytes | None:
    """Return `(rate, samples)`, in either order, as a WAV; None if the tuple is something else.

    Samples that are floats are from -1 to 1. Those that are int64, Python's numbers, have 16 or 32 bits, as
    the largest needs. Several channels are columns, or up to eight rows.
    """
    if len(value) != 2:
        return None
    rate, samples = value if is_array(value[1]) else reversed(value)
    if not is_array(samples) or isinstance(rate, bool) or not isinstance(rate, int) or rate not in _RATES:
        return None
    import wave

    import numpy

    array = wire.as_numpy(samples)
    if array.ndim == 2 and array.shape[0] <= _MAX_CHANNELS < array.shape[1]:
        array = array.T
    if array.ndim not in (1, 2) or array.dtype.kind not in "iuf":
        return None
    if array.dtype.kind == "f":
        array = (numpy.nan_to_num(array).clip(-1, 1) * 32767).astype("<i2")
    elif array.dtype == "int64":
        narrow = next((kind for kind in ("int16", "int32") if _fits(array, numpy.iinfo(kind))), None)
        if narrow is None:
            return None
        array = array.astype(narrow)
    elif array.dtype not in ("uint8", "int16", "int32"):
        return None
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1 if array.ndim == 1 else array.shape[1])
        file.setsampwidth(array.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return buffer.getvalue()


def _fits(array: Any, limits: Any) -> bool:
    return not array.size or bool(limits.min <= array.min() and array.max() <= limits.max)


def figure_of(value: Any) -> Any:
    """Return matplotlib's figure in which `value` is drawn: a figure, a part of one, a grid of seaborn, or
    what a function of pyplot returns. None for anything else."""
    if "matplotlib.figure" not in sys.modules:
        return None
    if (figure := _figure(value)) is not None:
        return figure
    if not isinstance(value, (list, tuple, dict, loaded("numpy", "ndarray"))):
        return None
    artists = list(_artists(value, in_tuple=isinstance(value, tuple)))
    figures = {id(figure): figure for figure in map(_figure, artists)}
    # Several figures, or nothing but figures, are a list of pictures.
    if None in artists or len(figures) != 1 or all(artist is _figure(artist) for artist in artists):
        return None
    (figure,) = figures.values()
    return figure


def is_drawing(value: Any) -> bool:
    """Return True for a part of a figure, rather than a figure."""
    figure = figure_of(value)
    return figure is not None and figure is not value


def _figure(value: Any) -> Any:
    """Return the figure that an object or its attribute `figure` is, or None."""
    figure_class, kind = loaded("matplotlib.figure", "Figure"), type(value)
    if kind.__module__.startswith("matplotlib.") and not (
        hasattr(value, "figure") or hasattr(kind, "_repr_html_") or isinstance(value, (list, tuple, dict))
    ):
        # A pie, a colour bar and a stream plot are neither artists nor lists of them.
        parts = getattr(value, "__dict__", {})
        items = [part[0] if isinstance(part, list) and part else part for part in parts.values()]
        artist_class = loaded("matplotlib.artist", "Artist")
        value = next((item for item in items if isinstance(item, artist_class)), None)
    # A part of a figure may be in a part of its own.
    for _ in range(3):
        if isinstance(value, figure_class):
            return value
        value = getattr(value, "figure", None)
    return None


def _artists(value: Any, *, in_tuple: bool) -> Iterator[Any]:
    """Yield the artists in nested values, and None for anything else. Arrays of numbers do not count in a
    tuple: `hist` returns them beside its bars."""
    is_array = isinstance(value, loaded("numpy", "ndarray"))
    items: Iterable[Any] = ()
    if isinstance(value, loaded("matplotlib.artist", "Artist")):
        yield value
    elif isinstance(value, dict):
        items = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    elif is_array and value.dtype == object:
        items = value.flat
    elif value is not None and not (in_tuple and is_array):
        yield None
        return
    for item in items:
        yield from _artists(item, in_tuple=in_tuple)


def figure_sources(figure: Any) -> dict[str, Callable[[], bytes]]:
    """Return functions that draw a figure, by media type."""

    def drawn(format: str) -> Callable[[], bytes]:
        def draw() -> bytes:
            buffer = io.BytesIO()
            # Margins as in notebooks, so that no label is lost.
            figure.savefig(buffer, format=format, dpi="figure", bbox_inches="tight")
            return buffer.getvalue()

        return draw

    return {mime: drawn(format) for mime, format in _FIGURE_FORMATS.items()}


def tiff(image: Any) -> bytes:
    """Return an image of Pillow as a TIFF, which has nearly all modes: PNG and JPEG have no floats."""
    if image.mode in ("HSV", "RGBa", "La"):
        image = image.convert("RGB" if image.mode == "HSV" else image.mode.upper())
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    return buffer.getvalue()


def file_of_display(value: Any) -> tuple[str, Callable[[], bytes]] | None:
    """Return the media type and the content of an `Audio` or `Video` of IPython; None if it is only a URL, or
    something else."""
    kinds = (loaded("IPython.lib.display", "Audio"), loaded("IPython.core.display", "Video"))
    if not isinstance(value, kinds):
        return None
    data, name = value.data, value.filename
    kind = value.mimetype or (mimetypes.guess_type(name)[0] if name else None)
    if isinstance(data, bytes):
        return kind or media_type(data) or OCTETS, lambda: data
    return (kind or OCTETS, Path(name).read_bytes) if name else None
