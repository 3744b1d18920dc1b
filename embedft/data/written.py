"""Texts that a language model writes: questions that a document answers, paraphrases of a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from embedft.data.answers import Answer
from embedft.data.derive import Derived, Document, PairReport, drop_shared_questions
from embedft.data.endpoint import Endpoint
from embedft.data.retrieval import document_text
from embedft.errors import ConfigError

QUESTIONS = (
    "Write {count} different search queries that the document below answers, in the language of the document. Each "
    "must be understood by someone who has not seen the document, and none may copy a sentence of it. Write one query "
    "a line and nothing else.\n\nDocument:\n{text}"
)
PARAPHRASE = (
    "Say the text below in other words, in its own language, with the same meaning and about the same length. Write "
    "the new text and nothing else.\n\nText:\n{text}"
)
# Longer documents are cut: what a model reads costs, and its window ends.
MAX_CHARS = 8000
# By characters, for languages without spaces.
MIN_QUESTION_CHARS = 6
LIST_MARK = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,2}[.):])\s+")
QUOTED = re.compile(r'^["\u201c\u201e\u00ab](.*)["\u201d\u201c\u00bb]$', re.S)


def read_prompt(path: Path) -> str:
    """A prompt from a file; ``{text}`` stands for the text, ``{count}`` for the number of questions.

    Raises:
        ConfigError: it cannot be read, or does not hold ``{text}``.
    """
    try:
        prompt = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no readable prompt: {error}", hint="give a UTF-8 text file.") from error
    if "{text}" not in prompt:
        raise ConfigError(f"{path}: does not say where the text goes.", hint="write {text} there.")
    return prompt


def questions(
    documents: Sequence[Document],
    endpoint: Endpoint,
    report: PairReport,
    *,
    count: int = 3,
    prompt: str = QUESTIONS,
    show_progress: bool = False,
) -> list[Derived]:
    """Pairs of a question, written by a language model, and the document that answers it.

    Args:
        documents: those without text are passed over.
        endpoint: answers in lines, one a question; list marks and quotation marks are taken away.
        report: takes the counts.
        count: questions a document.
        prompt: with ``{text}`` and ``{count}``.
        show_progress: on standard error.

    Source: Bonifacio et al. 2022, InPars, arXiv:2202.05144; Dai et al. 2023, Promptagator, arXiv:2209.11755.
    """
    asked = [document for document in documents if document.text.strip()]
    texts = [document_text(document.title, document.text)[:MAX_CHARS] for document in asked]
    answers = endpoint.ask([_filled(prompt, text, count) for text in texts], show_progress=show_progress)
    found = [
        Derived(question, document_text(document.title, document.text), "questions", document.id)
        for document, answer in zip(asked, answers, strict=True)
        for question in _lines(answer)[:count]
    ]
    report.made["questions"] += len(found)
    return drop_shared_questions(found, report)


def paraphrases(
    texts: Sequence[str],
    copies: int,
    endpoint: Endpoint,
    *,
    prompt: str = PARAPHRASE,
    seed: int = 0,
    show_progress: bool = False,
) -> list[list[str]]:
    """``copies`` new texts for each of n texts; fewer where the endpoint refused, or its answer was cut off."""
    prompts = [_filled(prompt, text[:MAX_CHARS], 1) for text in texts for _ in range(copies)]
    seeds = list(range(seed, seed + copies)) * len(texts)
    said = endpoint.ask(prompts, seeds=seeds, show_progress=show_progress)
    # More lines than the text has are a list of proposals, or talk around the answer.
    asked = [text for text in texts for _ in range(copies)]
    answers = [
        _bare(answer.text) if answer.whole and answer.text.count("\n") <= text.count("\n") else ""
        for text, answer in zip(asked, said, strict=True)
    ]
    return [
        [answer for answer in answers[number * copies : (number + 1) * copies] if answer]
        for number in range(len(texts))
    ]


def _filled(prompt: str, text: str, count: int) -> str:
    # Not str.format: prompts and texts may hold braces of their own.
    return prompt.replace("{count}", str(count)).replace("{text}", text)


def _lines(answer: Answer) -> list[str]:
    lines = [_bare(LIST_MARK.sub("", line).strip()) for line in answer.text.splitlines()]
    if not answer.whole:
        del lines[-1:]
    # A line that ends in a colon announces the list.
    kept = [line for line in lines if len(line) >= MIN_QUESTION_CHARS and not line.endswith((":", "\uff1a"))]
    return list(dict.fromkeys(kept))


def _bare(text: str) -> str:
    match = QUOTED.match(text)
    return match[1].strip() if match else text
