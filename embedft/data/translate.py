"""Back-translation: a text into another language and back says the same in other words (Sennrich et al. 2016,
arXiv:1511.06709, for machine translation; Xie et al. 2020, UDA, arXiv:1904.12848, for augmentation).

Any pair of sequence-to-sequence models of ``transformers`` does: one for each way (OPUS-MT), or one of many languages
for both (NLLB, M2M-100, mBART-50, T5, multilingual OPUS-MT).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from embedft.errors import ModelError
from embedft.progress import progress

BATCH = 16
MAX_TOKENS = 512
# Names that T5's prompts use ("translate English to German: ").
T5_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ro": "Romanian"}


@dataclass(frozen=True)
class Languages:
    """Codes of the language of the texts and of the one in between, as the model knows them (``eng_Latn``, ``en``)."""

    own: str
    other: str


class Translator:
    """A translation model for one way.

    Args:
        name: folder, or name on the hub; weights must be safetensors.
        source, target: language codes; None for a model of one pair.

    Raises:
        ModelError: it cannot be loaded, is no sequence-to-sequence model, or does not know a language.
    """

    def __init__(self, name: str, source: str | None = None, target: str | None = None) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(name)
            self.model = AutoModelForSeq2SeqLM.from_pretrained(name, use_safetensors=True).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ModelError(
                f"{name}: cannot be loaded as a translation model: {str(error).splitlines()[0]}",
                hint="name a folder or a hub name of a sequence-to-sequence model with safetensors weights.",
            ) from error
        self.name = name
        self.prefix = ""
        self.options: dict[str, Any] = {}
        if source is not None and target is not None:
            self._choose(source, target)

    def _choose(self, source: str, target: str) -> None:
        """Tell a model of many languages which ones, each family in its own way."""
        vocabulary = self.tokenizer.get_vocab()
        if self.model.config.model_type in ("t5", "mt5", "umt5"):
            names = [T5_LANGUAGES.get(code, code) for code in (source, target)]
            self.prefix = f"translate {names[0]} to {names[1]}: "
        elif f">>{target}<<" in vocabulary:
            self.prefix = f">>{target}<< "
        elif hasattr(self.tokenizer, "src_lang"):
            ids = [_language_id(vocabulary, code) for code in (source, target)]
            if None in ids:
                code = source if ids[0] is None else target
                raise ModelError(
                    f"{self.name}: does not know the language {code!r}.",
                    hint="use the model's own codes, for example eng_Latn (NLLB) or en (M2M-100).",
                )
            self.tokenizer.src_lang = source
            self.options["forced_bos_token_id"] = ids[1]

    def translate(self, texts: Sequence[str], copies: int, *, seed: int, label: str | None) -> list[list[str]]:
        """``copies`` translations of each text: the best one by beam search; several are sampled.

        Args:
            texts: n texts; what is longer than the model reads is cut.
            copies: of each.
            seed: of the sampling.
            label: of the progress on standard error; None shows none.
        """
        torch.manual_seed(seed)
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        done: list[list[str]] = [[] for _ in texts]
        how = {"num_beams": 4, "do_sample": False} if copies == 1 else {"num_beams": 1, "do_sample": True, "top_p": 0.9}
        limit = min(self.tokenizer.model_max_length, MAX_TOKENS)
        with progress(label or "", len(texts), "texts", enabled=label is not None) as advance, torch.inference_mode():
            for begin in range(0, len(order), BATCH):
                rows = order[begin : begin + BATCH]
                batch = [self.prefix + texts[row] for row in rows]
                inputs = self.tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=limit)
                made = self.model.generate(
                    **inputs, **how, **self.options, num_return_sequences=copies, max_new_tokens=limit
                )
                said = self.tokenizer.batch_decode(made, skip_special_tokens=True)
                for place, row in enumerate(rows):
                    done[row] = [text.strip() for text in said[place * copies : (place + 1) * copies]]
                advance(len(rows))
        return done


def _language_id(vocabulary: dict[str, int], code: str) -> int | None:
    # M2M-100 writes its codes as __en__, where "en" is a piece of a word; the others write them as they are.
    for form in (f"__{code}__", code):
        if form in vocabulary:
            return vocabulary[form]
    return None


def back_translate(
    texts: Sequence[str],
    copies: int,
    there: Translator,
    back: Translator,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> list[list[str]]:
    """``copies`` new texts for each of n texts: into the other language, several ways if copies > 1, and back."""
    between = there.translate(texts, copies, seed=seed, label="translation" if show_progress else None)
    flat = [text for row in between for text in row]
    returned = back.translate(flat, 1, seed=seed, label="back-translation" if show_progress else None)
    found = [text for (text,) in returned]
    return [found[row * copies : (row + 1) * copies] for row in range(len(texts))]
