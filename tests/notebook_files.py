"""Notebook files for tests."""

from __future__ import annotations

import json
import os
from pathlib import Path


def notebook(*cells: str) -> str:
    """Return the JSON of a notebook with these code cells, as JupyterLab writes it."""
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"language_info": {"name": "python"}},
            "cells": [
                {
                    "cell_type": "code",
                    "id": f"cell-{number}",
                    "metadata": {},
                    "execution_count": None,
                    "outputs": [],
                    "source": text.splitlines(keepends=True),
                }
                for number, text in enumerate(cells)
            ],
        }
    )


def save(path: Path, *cells: str) -> None:
    """Replace the file atomically by a notebook with these cells, or by their text for a `.py` file."""
    text = notebook(*cells) if path.suffix == ".ipynb" else "\n".join(cells)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
