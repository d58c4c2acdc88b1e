"""Draw the logo of the kernelspec: `python kernels/draw_logo.py` writes kernels/owt/logo-*.

A prompt in a ring: code that a request brings, in a kernel that stays. The shapes are in units of a square of
64; the bitmaps are drawn eight times larger and reduced, which smooths their edges.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

FOLDER = Path(__file__).resolve().parent / "owt"
SIZES = (32, 64)
UNIT = 64
SCALE = 8

BACKGROUND, FOREGROUND, ACCENT = "#17405c", "#ffffff", "#ffb347"
CORNER = 14
RING = (32.0, 32.0, 20.0, 5.0)
"""Centre, radius and width of the ring."""
PROMPT = ((26.0, 23.0), (35.0, 32.0), (26.0, 41.0))
"""Points of the line."""
PROMPT_WIDTH = 5.0
DOT = (41.0, 40.0, 3.2)
"""Centre and radius of the dot."""


def svg() -> str:
    """Return the logo as SVG."""
    x, y, radius, width = RING
    points = " ".join(f"{left:g},{top:g}" for left, top in PROMPT)
    line = 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {UNIT} {UNIT}">\n'
        f'  <rect width="{UNIT}" height="{UNIT}" rx="{CORNER}" fill="{BACKGROUND}"/>\n'
        f'  <circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="none" stroke="{FOREGROUND}"'
        f' stroke-width="{width:g}"/>\n'
        f'  <polyline points="{points}" {line} stroke="{ACCENT}" stroke-width="{PROMPT_WIDTH:g}"/>\n'
        f'  <circle cx="{DOT[0]:g}" cy="{DOT[1]:g}" r="{DOT[2]:g}" fill="{ACCENT}"/>\n'
        "</svg>\n"
    )


def bitmap(size: int) -> Image.Image:
    """Return the logo as a bitmap of this size."""
    image = Image.new("RGBA", (UNIT * SCALE, UNIT * SCALE))
    draw = ImageDraw.Draw(image)

    def box(x: float, y: float, radius: float) -> list[float]:
        return [value * SCALE for value in (x - radius, y - radius, x + radius, y + radius)]

    draw.rounded_rectangle((0, 0, UNIT * SCALE - 1, UNIT * SCALE - 1), CORNER * SCALE, BACKGROUND)
    x, y, radius, width = RING
    draw.ellipse(box(x, y, radius + width / 2), outline=FOREGROUND, width=round(width * SCALE))
    points = [(left * SCALE, top * SCALE) for left, top in PROMPT]
    draw.line(points, ACCENT, round(PROMPT_WIDTH * SCALE), joint="curve")
    for left, top in PROMPT:
        draw.ellipse(box(left, top, PROMPT_WIDTH / 2), ACCENT)
    draw.ellipse(box(*DOT), ACCENT)
    return image.resize((size, size), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    (FOLDER / "logo-svg.svg").write_text(svg(), encoding="utf-8")
    for size in SIZES:
        bitmap(size).save(FOLDER / f"logo-{size}x{size}.png", optimize=True)
