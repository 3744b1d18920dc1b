"""Read judgments: tab-separated with a header or none, or the four columns of TREC."""

from __future__ import annotations

from pathlib import Path

from embedft.data.faults import MAX_BAD_SHARE, FaultLog
from embedft.data.source import bare_stem, read_lines
from embedft.errors import DataError

HIGHEST_GRADE = 1_000_000
ENDINGS = (".tsv", ".txt", ".qrels", ".qrel", ".trec")
SPLIT_OF = {"train": "train", "dev": "dev", "validation": "dev", "valid": "dev", "val": "dev", "test": "test"}
ROLES = {
    "query": ("query-id", "query_id", "qid", "query", "topic", "queryid"),
    "document": ("corpus-id", "corpus_id", "docid", "doc_id", "doc-id", "pid", "document", "docno", "corpusid"),
    "score": ("score", "relevance", "rel", "grade", "label", "judgment", "judgement", "relevancy"),
}
Judgment = tuple[int, str, str, int]


def qrels_files(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) of a BEIR folder, in the order train, dev, test.

    Raises:
        DataError: two files stand for one split.
    """
    found: dict[str, Path] = {}
    inside = folder / "qrels"
    for file in sorted(inside.iterdir()) if inside.is_dir() else []:
        split = SPLIT_OF.get(bare_stem(file))
        if split is None or not file.is_file() or file.suffix not in (*ENDINGS, ".gz", ".zst"):
            continue
        if split in found:
            raise DataError(
                f"{inside}: holds {found[split].name} and {file.name}; which is meant?", hint="keep one file a split."
            )
        found[split] = file
    return [(split, found[split]) for split in ("train", "dev", "test") if split in found]


def read_qrels(log: FaultLog, max_bad: float = MAX_BAD_SHARE) -> list[Judgment]:
    """(line, query id, document id, grade) of each sound row of the file that ``log`` is of.

    Without a header three columns are query, document, grade, and four are TREC's query, iteration, document, grade;
    with one they go by name. A whole number written as a decimal is read as an integer.

    Raises:
        DataError: the file is missing, empty or too broken, or its header names none of the usual columns.
    """
    path = log.path
    grades: dict[tuple[str, str], int] = {}
    rows: list[Judgment] = []
    places: tuple[int, int, int] | None = None
    width = 0
    for line, text in read_lines(path, log):
        fields = _fields(text)
        if not fields:
            continue
        if places is None:
            places, width, is_header = _places(path, fields)
            if is_header:
                continue
        log.rows += 1
        if len(fields) != width:
            kind = "too few columns" if len(fields) < width else "too many columns"
            log.add(kind, line, f"{len(fields)} for {width}", text)
            continue
        query, document, score = (fields[place].strip() for place in places)
        grade = _grade(score, line, log, text)
        if grade is None:
            continue
        if (query, document) in grades:
            if grades[query, document] != grade:
                log.add("pair stands twice with different scores", line, f"{query} {document}", text)
            else:
                log.note("same judgment twice", line, f"{query} {document}")
            continue
        grades[query, document] = grade
        rows.append((line, query, document, grade))
    log.check("rows of query-id, corpus-id, score (an integer), separated by tabs", max_bad)
    return rows


def _fields(text: str) -> list[str]:
    text = text.rstrip("\r\n")
    return text.split("\t") if "\t" in text else text.split()


def _places(path: Path, fields: list[str]) -> tuple[tuple[int, int, int], int, bool]:
    """Where query, document and grade stand, how many columns there are, and whether the first line is a header."""
    names = [field.strip().lower() for field in fields]
    found = [next((place for place, name in enumerate(names) if name in known), None) for known in ROLES.values()]
    if None not in found:
        query, document, score = (place for place in found if place is not None)
        return (query, document, score), len(fields), True
    if len(fields) not in (3, 4) or not _is_number(names[-1]):
        raise DataError(
            f"{path}:1: needs the columns query-id, corpus-id, score; the header has {', '.join(fields)}.",
            hint="give the file a tab-separated header with these three names, or none.",
        )
    return ((0, 1, 2), 3, False) if len(fields) == 3 else ((0, 2, 3), 4, False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _grade(score: str, line: int, log: FaultLog, raw: str) -> int | None:
    try:
        grade = int(score)
    except ValueError:
        if not _is_number(score) or not float(score).is_integer():
            log.add("score is not an integer", line, score, raw)
            return None
        log.note("score is written as a decimal", line, score)
        grade = int(float(score))
    if abs(grade) > HIGHEST_GRADE:
        log.add("score is beyond any grade", line, score, raw)
        return None
    if grade < 0:
        log.note("score is negative", line, score)
    return grade
