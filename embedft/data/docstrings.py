"""Retrieval data that every machine has: the documentation strings of the installed packages.

A query is the summary sentence of a public function or class, its document the rest of the docstring, without the
summary and without the object's own name. The sources are parsed, never imported. Splits go by top-level submodule
(``scipy.stats``, ``torch.nn``), so that near-identical siblings do not stand on two sides.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import signal
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from embedft.data.leakage import folded
from embedft.data.retrieval import CORPUS_SCHEMA, QRELS_SCHEMA, QUERIES_SCHEMA, RetrievalData
from embedft.errors import DataError

PACKAGES = (
    "numpy",
    "scipy",
    "sklearn",
    "pandas",
    "torch",
    "transformers",
    "datasets",
    "sentence_transformers",
    "pyarrow",
)
# Generated or repeated by the hundred, or not documentation for users.
SKIPPED_FOLDERS = {"models", "tests", "test", "testing", "_inductor", "_dynamo", "_vendor", "include", "generated"}

MIN_SUMMARY_WORDS, MAX_SUMMARY_WORDS = 4, 30
MIN_BODY_WORDS = 20
MAX_BODY_CHARACTERS = 800
MIN_PAIRS = 200
# Ctrl-C reaches the workers too; the parent alone answers it.
IGNORE_INTERRUPT = (signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class Documented:
    """A documented object: its qualified name, its module, its summary sentence, the rest of its docstring."""

    name: str
    module: str
    summary: str
    body: str

    @property
    def group(self) -> str:
        """Package and top-level submodule; the package alone for what it defines itself."""
        return ".".join(self.module.split(".")[:2])


def docstring_data(
    packages: Sequence[str] = PACKAGES, *, limit: int = 3000, shares: tuple[float, float] = (0.1, 0.2)
) -> RetrievalData:
    """Retrieval data from the docstrings of the packages that are installed.

    Args:
        packages: import names; those that are not installed are passed over.
        limit: most documents; a choice by hash, the same on every machine with the same packages.
        shares: of the queries in dev and in test; the rest is train.

    Raises:
        DataError: fewer than 200 usable docstrings were found.
    """
    objects = _distinct(documented_objects(packages))
    objects = sorted(objects, key=lambda item: _draw(item.name))[:limit]
    if len(objects) < MIN_PAIRS:
        raise DataError(
            f"only {len(objects)} usable docstrings were found in {', '.join(packages)}.",
            hint="install more documented packages, or train on data of your own.",
        )
    split_of = _assign(Counter(item.group for item in objects), shares)
    objects.sort(key=lambda item: item.name)
    ids = [item.name for item in objects]
    corpus = [ids, [""] * len(ids), [item.body for item in objects], [None] * len(ids)]
    qrels = {}
    for split in ("train", "dev", "test"):
        names = [item.name for item in objects if split_of[item.group] == split]
        qrels[split] = pa.table([names, names, [1] * len(names)], schema=QRELS_SCHEMA)
    return RetrievalData(
        Path("docstrings"),
        pa.table(corpus, schema=CORPUS_SCHEMA),
        pa.table([ids, [item.summary for item in objects], [None] * len(ids)], schema=QUERIES_SCHEMA),
        qrels,
    )


def documented_objects(packages: Sequence[str]) -> list[Documented]:
    """Every public function, class and method of the packages whose docstring has a summary and a body."""
    files = [(package, root, file) for package in packages for root in _roots(package) for file in _sources(root)]
    spawn = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, initializer=signal.signal, initargs=IGNORE_INTERRUPT) as pool:
        found = pool.map(_documented_in, *zip(*files, strict=True), chunksize=64) if files else ()
        return [item for items in found for item in items]


def split_docstring(docstring: str, name: str) -> tuple[str, str] | None:
    """The summary sentence and the rest without the object's ``name``; None where either is too short or too long."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n", maxsplit=1)
    first = " ".join(paragraphs[0].split())
    sentence = re.match(r"(.+?[.!?])(?:\s+(?=[A-Z`])|$)", first)
    summary = sentence[1] if sentence else first
    rest = first[len(summary) :] + "\n" + (paragraphs[1] if len(paragraphs) > 1 else "")
    if len(name) > 2:
        rest = re.sub(rf"\b{re.escape(name)}\b", "", rest)
    body = " ".join(rest.split())[:MAX_BODY_CHARACTERS].strip()
    if not MIN_SUMMARY_WORDS <= len(summary.split()) <= MAX_SUMMARY_WORDS or len(body.split()) < MIN_BODY_WORDS:
        return None
    return summary, body


def _roots(package: str) -> list[Path]:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in spec.submodule_search_locations or []] if spec else []


def _sources(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.py")):
        if not SKIPPED_FOLDERS.intersection(path.relative_to(root).parts):
            yield path


def _documented_in(package: str, root: Path, file: Path) -> list[Documented]:
    module = ".".join((package, *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, OSError):
        return []
    return list(_walk(tree.body, module, module))


def _walk(body: Sequence[ast.stmt], prefix: str, module: str) -> Iterator[Documented]:
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        name = f"{prefix}.{node.name}"
        docstring = ast.get_docstring(node, clean=False)
        parts = split_docstring(docstring, node.name) if docstring else None
        if parts:
            yield Documented(name, module, *parts)
        if isinstance(node, ast.ClassDef):
            yield from _walk(node.body, name, module)


def _distinct(objects: list[Documented]) -> list[Documented]:
    """Without repeated names and bodies, and without summaries that several objects share (no one answer is right)."""
    shared = Counter(folded(item.summary) for item in objects)
    seen: set[str] = set()
    kept = []
    for item in objects:
        keys = {item.name, folded(item.body)}
        if shared[folded(item.summary)] == 1 and not keys & seen:
            kept.append(item)
            seen |= keys
    return kept


def _assign(sizes: Counter[str], shares: tuple[float, float]) -> dict[str, str]:
    """Group -> split: groups in an order drawn by hash fill dev, then test; one that would overfill them trains."""
    total = sizes.total()
    room = {"dev": shares[0] * total, "test": shares[1] * total}
    assigned = {}
    for group in sorted(sizes, key=_draw):
        split = next((name for name, left in room.items() if sizes[group] <= left), "train")
        if split != "train":
            room[split] -= sizes[group]
        assigned[group] = split
    return assigned


def _draw(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
