"""Texts into token ids, with the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from embedft.encoder.layout import Ids


@dataclass(frozen=True)
class Tokenized:
    """Token ids of some texts, special tokens included, and how many of the texts were cut."""

    ids: list[Ids]
    cut: int


class Texts:
    """A tokenizer and the special tokens it puts around a text."""

    def __init__(self, tokenizer: Tokenizer, *, pad_id: int = 0, cut_left: bool = False) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id
        self.cut_left = cut_left
        tokenizer.no_truncation()
        tokenizer.no_padding()
        bare, framed = (tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        begin = next(
            (start for start in range(len(framed) - len(bare) + 1) if framed[start : start + len(bare)] == bare), 0
        )
        self._before = np.asarray(framed[:begin], dtype=np.int32)
        self._after = np.asarray(framed[begin + len(bare) :], dtype=np.int32)

    def tokenize(self, texts: Sequence[str], prompt: str, max_length: int) -> Tokenized:
        """Ids of each text behind the prompt, special tokens included, at most ``max_length`` of them.

        A text without any token, where the tokenizer adds no special ones either, is one padding token.
        """
        # The tokenizer takes no lone surrogates; each becomes a question mark.
        clean = [
            text if text.isascii() else text.encode("utf-8", "replace").decode()
            for text in (prompt + text for text in texts)
        ]
        room = max(max_length - len(self._before) - len(self._after), 0)
        ids, cut = [], 0
        for encoding in self.tokenizer.encode_batch_fast(clean, add_special_tokens=False):
            inner = np.asarray(encoding.ids, dtype=np.int32)
            if len(inner) > room:
                cut += 1
                inner = inner[len(inner) - room :] if self.cut_left else inner[:room]
            row = np.concatenate((self._before, inner, self._after))
            ids.append(row if len(row) else np.asarray([self.pad_id], dtype=np.int32))
        return Tokenized(ids, cut)

    def state(self) -> Any:
        """Everything that decides the ids, for the fingerprint."""
        state = json.loads(self.tokenizer.to_str())
        state = {key: value for key, value in state.items() if key not in {"truncation", "padding"}}
        # Only what differs from the usual: fingerprints are stored in indexes.
        if self.cut_left:
            state["cut_left"] = True
        if self.pad_id and not len(self._before) + len(self._after):
            state["pad_id"] = self.pad_id
        return state
