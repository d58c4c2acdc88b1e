"""The documentation uses standard terms."""

from __future__ import annotations

import re

import pytest
from pages import PROSE, name, prose
from vocabulary import WORDS


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_prose_uses_standard_terms(page):
    text = prose(page)
    matches = [re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE) for pattern in WORDS]
    assert [(match[0], term) for match, term in zip(matches, WORDS.values(), strict=True) if match] == []
