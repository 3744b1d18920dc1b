"""The language that shared words are counted in, told by the texts themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedft.evaluation.stress.wording import looks_english

# So many texts, spread over all, and so many letters of each tell it.
SAMPLED, BEGINNING = 500, 500


def language_of(texts: Sequence[str]) -> str | None:
    """The name of English for its stemmer and stop words, or None for words as they are: no other language is told."""
    rows = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), SAMPLED)).astype(np.int64)).tolist()
    return "english" if looks_english([texts[row][:BEGINNING] for row in rows]) else None
