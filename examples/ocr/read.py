"""Text in a picture: a session that runs this file answers at `/read`, and has a page at `/ocr`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rapidocr import RapidOCR

from owt import endpoint

# Loaded once, for all calls. Larger pictures are reduced to 960 pixels, and small ones are not enlarged.
engine = RapidOCR(params={"Det.limit_type": "max", "Det.limit_side_len": 960, "Global.log_level": "error"})


@dataclass
class Line:
    text: str
    score: float
    box: list[int]  # left, top, right, bottom


@endpoint("/read")
def read(image: Image.Image) -> list[Line]:
    """Return the lines of text in the picture, from top to bottom."""
    result = engine(np.asarray(image.convert("RGB")))
    if result.txts is None:
        return []
    boxes = [[*box.min(axis=0), *box.max(axis=0)] for box in result.boxes]
    return [
        Line(text, round(score, 2), [round(edge) for edge in box])
        for text, score, box in zip(result.txts, result.scores, boxes, strict=True)
    ]


@endpoint("/ocr")
def page() -> Path:
    """Return the page beside this file, where the session runs."""
    return Path("ocr.html").absolute()
