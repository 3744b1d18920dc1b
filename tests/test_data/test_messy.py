"""Every fault that the files of ``messy/`` count is found, count by count; what is left is read, cleaned and split."""

import json

import pytest

from embedft.data.check import check
from embedft.data.clean import CleanConfig, clean
from embedft.data.dataset import read_dataset
from embedft.errors import DataError

JSONL = {
    "not valid JSON: cut off": 12,
    "not valid JSON: Python's single quotes": 5,
    "not valid JSON: trailing comma": 3,
    "not valid JSON: plain text": 4,
    "not valid JSON: more than one value on the line": 2,
    "blank line": 6,
    "label is missing": 7,
    "text is missing": 8,
    "text is null": 5,
    "text is a number": 4,
    "text is a list": 3,
    "text is empty": 10,
    "text is white space only": 6,
    "label is NaN": 2,
    "label is null": 3,
    "not a JSON object": 2,
}
STS = {
    "line break or tab in a text": 25,
    "doubled quotation mark inside a quoted text": 20,
    "decimal comma in the score": 8,
    "score is empty": 5,
    "score is not a number": 3,
    "score is NaN": 2,
    "score outside 0..5": 4,
    "too many columns": 6,
    "too few columns": 5,
    "sentence1 is empty": 6,
    "sentence2 is white space only": 4,
}
# Emoji: 20 texts with some, 3 of emoji alone. Other script: the 15 Arabic questions.
UNICODE = {
    "emoji": 23,
    "text of emoji alone": 3,
    "text in another script than the others": 15,
    "several scripts in a text": 10,
    "bidirectional control character": 10,
    "zero-width character": 15,
    "text has no visible character": 3,
    "decomposed letters (not NFC)": 15,
    "full-width letters": 10,
    "NUL character": 5,
    "control character": 5,
    "line separator U+2028, U+2029 or U+0085": 5,
    "line break or tab in a text": 10,
    "stacked combining marks": 5,
    "no-break or other odd space": 10,
    "a lone surrogate, which no UTF-8 text can hold": 3,
}
LABELS = {
    "label is probably a typo: other case": 15,
    "white space around the label": 10,
    "label is probably a typo: other separators": 12,
    "label is probably a typo: one letter off": 12,
    "class with one example": 1,
    "label is empty": 4,
    "label is a number": 3,
    "label that train does not have": 5,
}
# The empty texts of corpus and queries: 8 documents stay, the query e1 goes, and with it the row that points to it.
QRELS = {
    "no title": 10,
    "text is empty": 8 + 1,
    "text is null": 2,
    "_id is a number": 5,
    "_id stands twice": 3 + 1,
    "query without judgments": 7,
    "corpus-id that the corpus does not have": 25,
    "query-id that the queries do not have": 10,
    "same judgment twice": 6,
    "pair stands twice with different scores": 6,
    "score is negative": 3,
    "score is not an integer": 3,
    "score is written as a decimal": 2,
    "too few columns": 3,
    "query-id that was left out": 1,
}
NER = {
    "-DOCSTART- line": 3,
    "sentence with spaces for tabs": 8,
    "line without a tag": 5,
    "I- without B-": 10,
    "I- after another type": 4,
    "token is empty": 2,
    "two blank lines in a row": 6,
    "no line end at the end of the file": 1,
}
FOUND = {
    "banking77_broken.jsonl": JSONL,
    "sts_bom_quoted.csv": STS,
    "duplicates.jsonl": {"exact duplicate": 60, "near duplicate": 40, "same text with another label": 20},
    "latin1.tsv": {"not UTF-8, read as latin-1": 300},
    "mixed_encoding.jsonl": {
        "not UTF-8, read as latin-1": 60,
        "not UTF-8, read as cp1252": 20,
        "double-encoded UTF-8": 20,
        "replacement character U+FFFD": 10,
    },
    "utf16.tsv": {"file in UTF-16": 1},
    "long_doc": {"word of more than 1,000 characters": 1, "text of more than 20,000 characters": 2},
    "unicode.jsonl": UNICODE,
    "label_typos": LABELS,
    "qrels_missing": QRELS,
    "triplets_messy.jsonl": {
        "a negative equals the positive": 15,
        "the positive equals the anchor": 10,
        "negative is empty": 8,
        "no negative": 20,
        "negative is a list": 5,
        "other key names": 6,
    },
    "ner_messy.conll": NER,
}


@pytest.mark.parametrize("name", FOUND)
def test_what_is_counted_is_found(shared, name):
    report = check(read_dataset(shared / "messy" / name, max_bad=1))
    assert {kind: report.count(kind) for kind in FOUND[name]} == FOUND[name]


def test_shares_among_wider_scores_are_suspected(shared):
    """42 of the 50 rows: the others have scores such as 0.2 or 1.0, which both scales have."""
    report = check(read_dataset(shared / "messy" / "mixed_scale.tsv", max_bad=1))
    assert report.count("score on 0..1 among scores on 0..5") == 42


@pytest.mark.parametrize("name", ["empty.jsonl", "header_only.tsv"])
def test_a_file_without_rows_is_named(shared, name):
    with pytest.raises(DataError, match=f"{name}: is empty"):
        read_dataset(shared / "messy" / name)


@pytest.mark.parametrize("name", ["crlf.tsv", "trec_4_columns.txt", "header_other_names.tsv", "no_header.tsv"])
def test_every_form_of_qrels_gives_the_same_judgments(shared, name):
    from embedft.data.faults import FaultLog
    from embedft.data.qrels import read_qrels

    folder = shared / "messy" / "qrels_missing" / "qrels_variants"
    expected = [row[1:] for row in read_qrels(FaultLog(folder / "crlf.tsv"))]
    assert len(expected) == 446
    assert [row[1:] for row in read_qrels(FaultLog(folder / name))] == expected


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("leak_trec6", {"exact": 30, "normalised": 20}),
        ("leak_stsb", {"exact": 25, "swapped pair": 15}),
        ("leak_retrieval", {"query id": 20, "query text": 10}),
    ],
)
def test_planted_leaks_are_found_and_no_clean_row_is_named(shared, name, kinds):
    report = check(read_dataset(shared / "messy" / name))
    assert {leak.kind: leak.count for leak in report.leakage if leak.severe} == kinds


@pytest.mark.parametrize("name", [name for name in FOUND if name not in ("long_doc", "qrels_missing")])
def test_cleaning_leaves_nothing_to_repeat(shared, name):
    data = read_dataset(shared / "messy" / name, max_bad=1)
    config = CleanConfig(duplicates="near", conflicts="drop" if data.kind == "labelled texts" else "keep")
    once, _ = clean(data, config)
    twice, changes = clean(once, config)
    assert twice.splits == once.splits
    assert not changes.texts
    assert not changes.dropped


def test_each_public_set_reads_by_its_path_alone(shared):
    stated = {
        "classification/banking77": {"train": 10003, "test": 3080},
        "classification/clinc150": {"train": 15000, "dev": 3000, "test": 4500, "oos_test": 1000},
        "classification/trec6": {"train": 5452, "test": 500},
        "classification/trec50": {"train": 5452, "test": 500},
        "classification/mr": {"train": 9625, "test": 1037},
        "classification/sst2": {"train": 6920, "dev": 872, "test": 1821},
        "classification/emotion": {"train": 16000, "dev": 2000, "test": 2000},
        "classification/agnews_small": {"train": 6465, "test": 1135},
        "classification/pl04_long": {"train": 800, "test": 200},
        "classification/subj": {"train": 8968, "test": 1032},
        "sts/stsb_en": {"train": 5749, "dev": 1500, "test": 1379},
        "sts/stsb_de": {"train": 5749, "dev": 1500, "test": 1379},
        "sts/sts12": {"train": 1484, "test": 2358},
        "sts/sts13": {"test": 1500},
        "sts/sts14": {"test": 3750},
        "pairs/trecqa": {"train": 348},
        "pairs/msrp": {"train": 2407},
        "pairs/snli": {"train": 6695},
        "pairs/rqe": {"train": 3201},
        "ner/wnut17": {"train": 3394, "dev": 1009, "test": 1287},
    }
    for name, counts in stated.items():
        data = read_dataset(shared / name)
        assert sum(data.rows.values()) == sum(counts.values()), name
        # Four rows of snli repeat their anchor as the positive, which teaches nothing.
        assert len(data.faults) == (4 if name == "pairs/snli" else 0), name
        assert set(data.splits) == set(counts), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("leak_retrieval", "retrieval"),
        ("long_doc", "retrieval"),
        ("qrels_missing", "retrieval"),
        ("triplets_messy.jsonl", "retrieval"),
        ("leak_stsb", "similarity"),
        ("sts_bom_quoted.csv", "similarity"),
        ("latin1.tsv", "similarity"),
        ("utf16.tsv", "similarity"),
        ("mixed_encoding.jsonl", "similarity"),
        ("mixed_scale.tsv", "similarity"),
    ],
)
def test_what_is_left_after_cleaning_trains(shared, cli, tmp_path, name, task):
    done = cli("data", "clean", shared / "messy" / name, "-o", tmp_path / "clean", "--max-bad", "50%")
    assert done.returncode == 0, done.stderr
    data = tmp_path / "clean"
    if name in ("long_doc", "qrels_missing"):  # they have judgments of test alone
        done = cli("data", "split", data, "-o", tmp_path / "split", "--ratios", "60,20,20")
        assert done.returncode == 0, done.stderr
        data = tmp_path / "split"
    steps = ("--set", "training.max_steps=4", "--set", "training.batch_size=8", "--set", "training.max_length=64")
    done = cli("train", "--task", task, "--data", data, "-o", tmp_path / "run", *steps, "--json")
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout)["evaluation"]
    assert judged.get("queries", judged.get("pairs")) > 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
