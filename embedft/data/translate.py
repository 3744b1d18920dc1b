"""Back-translation: a text into another language and back says the same in other words (Sennrich et al. 2016,
arXiv:1511.06709, for machine translation; Xie et al. 2020, UDA, arXiv:1904.12848, for augmentation).

Any pair of sequence-to-sequence models of ``transformers`` does: one for each way (OPUS-MT), or one of many languages
for both (NLLB, M2M-100, mBART-50, T5, multilingual OPUS-MT).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from embedft.data.answers import Answer, kept_answers, request_key
from embedft.errors import ModelError
from embedft.progress import progress

BATCH = 16
# Texts that are kept at once.
BLOCK = 64
MAX_TOKENS = 512
# Names that T5's prompts use ("translate English to German: ").
T5_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "ro": "Romanian"}


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
            self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ModelError(
                f"{name}: cannot be loaded as a translation model: {said}",
                hint="name a folder or a hub name of a sequence-to-sequence model with safetensors weights.",
            ) from error
        self.name = name
        self.prefix = ""
        self.options: dict[str, Any] = {}
        if source is not None and target is not None:
            self._choose(source, target)

    def _choose(self, source: str, target: str) -> None:
        """Tell a model of many languages which ones, each family in its own way."""
        # Codes are tokens that were added; "en" among the others is a piece of a word.
        added = self.tokenizer.get_added_vocab()
        if self.model.config.model_type in ("t5", "mt5", "umt5"):
            names = [T5_LANGUAGES.get(code, code) for code in (source, target)]
            self.prefix = f"translate {names[0]} to {names[1]}: "
        elif f">>{target}<<" in self.tokenizer.get_vocab():
            self.prefix = f">>{target}<< "
        elif hasattr(self.tokenizer, "src_lang"):
            ids = [_language_id(added, code) for code in (source, target)]
            if None in ids:
                code = source if ids[0] is None else target
                raise ModelError(
                    f"{self.name}: does not know the language {code!r}.",
                    hint="use the model's own codes, for example eng_Latn (NLLB) or en (M2M-100).",
                )
            self.tokenizer.src_lang = source
            self.options["forced_bos_token_id"] = ids[1]
        else:
            raise ModelError(
                f"{self.name}: translates one way alone and takes no languages.",
                hint="leave --languages out and give a model for the way back.",
            )

    @property
    def key(self) -> list[Any]:
        """What tells the translations of this one from those of others."""
        return [self.name, self.prefix, self.options]

    def translate(self, texts: Sequence[str], copies: int, *, seed: int) -> list[list[str]]:
        """``copies`` translations of each text: the best one by beam search; several are sampled.

        Args:
            texts: n texts; what is longer than the model reads is cut.
            copies: of each.
            seed: of the sampling.
        """
        torch.manual_seed(seed)
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        done: list[list[str]] = [[] for _ in texts]
        how = {"num_beams": 4, "do_sample": False} if copies == 1 else {"num_beams": 1, "do_sample": True, "top_p": 0.9}
        limit = min(self.tokenizer.model_max_length, MAX_TOKENS)
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            batch = [self.prefix + texts[row] for row in rows]
            inputs = self.tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=limit)
            with torch.inference_mode():
                made = self.model.generate(
                    **inputs.to(self.model.device),
                    **how,
                    **self.options,
                    num_return_sequences=copies,
                    max_new_tokens=limit,
                )
            said = self.tokenizer.batch_decode(made, skip_special_tokens=True)
            for place, row in enumerate(rows):
                done[row] = [text.strip() for text in said[place * copies : (place + 1) * copies]]
        return done


def _language_id(added: dict[str, int], code: str) -> int | None:
    # M2M-100 writes its codes as __en__, the others as they are.
    for form in (f"__{code}__", code):
        if form in added:
            return added[form]
    return None


def back_translate(
    texts: Sequence[str],
    copies: int,
    there: Translator,
    back: Translator,
    *,
    cache: Path,
    seed: int = 0,
    show_progress: bool = False,
) -> list[list[str]]:
    """``copies`` new texts for each of n texts: into the other language, several ways if copies > 1, and back.

    Args:
        texts: n distinct texts.
        copies: of each.
        there: into the other language.
        back: out of it.
        cache: file that keeps what is done, so that work that broke off goes on.
        seed: of the sampling.
        show_progress: on standard error.

    Raises:
        ArtifactError: the cache is something else, or another process works with it.
    """
    keys = [[request_key([there.key, back.key, seed, copies, copy, text]) for copy in range(copies)] for text in texts]
    with kept_answers(cache) as answers:
        missing = [row for row, own in enumerate(keys) if not all(key in answers.known for key in own)]
        missing.sort(key=lambda row: -len(texts[row]))
        with progress("back-translation", len(missing), "texts", enabled=show_progress) as advance:
            for begin in range(0, len(missing), BLOCK):
                rows = missing[begin : begin + BLOCK]
                between = there.translate([texts[row] for row in rows], copies, seed=seed)
                returned = back.translate([text for row in between for text in row], 1, seed=seed)
                flat = iter(returned)
                for row in rows:
                    for key in keys[row]:
                        answers.put(key, Answer(next(flat)[0]))
                advance(len(rows))
        return [[answers.known[key].text for key in own] for own in keys]
