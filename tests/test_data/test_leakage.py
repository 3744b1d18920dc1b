"""Leakage is found, and a held-out part has none."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.data import drop_leaking_queries, find_leakage, hold_out, read_retrieval
from embedft.data.check import check
from embedft.data.clean import CleanConfig, clean
from embedft.data.dataset import read_dataset
from embedft.errors import DataError


def found(data):
    return {(leak.kind, leak.split): leak.count for leak in find_leakage(data)}


def test_clean_splits_have_no_severe_leak(garden_data):
    assert [leak for leak in find_leakage(garden_data) if leak.severe] == []


def test_every_kind_of_overlap_is_counted(garden):
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\ttomato-place\t1\nagain\ttomato-care\t1\ndoc\tfern-care\t1\n")
    with (garden / "queries.jsonl").open("a") as file:
        file.write('{"_id": "again", "text": "When and  how to water TOMATO"}\n')
        file.write('{"_id": "doc", "text": "Give it full sun. As for the ground: rich soil with compost. ')
        file.write('A gardener who follows this rarely has trouble."}\n')
    data = read_retrieval(garden)
    leaks = found(data)
    assert leaks[("query id", "test")] == 1
    assert leaks[("query text", "test")] == 1
    assert leaks[("query is trained document", "test")] == 1
    assert leaks[("positive text", "test")] == 3
    kept, dropped = drop_leaking_queries(data)
    # q1 goes by its id, and its document is the one that a test query repeats; the other row goes by its text.
    assert dropped == 2
    assert [leak for leak in find_leakage(kept) if leak.severe] == []


def test_other_data_are_compared_by_text_and_not_by_id(garden, garden_data):
    clean = {(leak.kind, leak.split) for leak in find_leakage(garden_data, other=read_retrieval(garden)) if leak.severe}
    assert clean == {("query text", "garden/train")}, "the same folder: its own training queries, and no id"
    report = check(read_dataset(garden), against=read_dataset(garden))
    assert [leak.count for leak in report.leakage if (leak.kind, leak.split) == ("query text", "garden/train")] == [
        len(garden_data.judged_queries("train")[0])
    ]


def test_near_duplicates_of_queries_and_documents_are_told(garden):
    question = "when and how often should a tomato be watered in a hot and dry summer"
    body = "Tomatoes are watered early in the morning, at the roots, twice a week and in hot summers every day."
    with (garden / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "x1", "text": question}) + "\n")
        file.write(json.dumps({"_id": "x2", "text": question.replace("dry", "dryer")}) + "\n")
        file.write(json.dumps({"_id": "x3", "text": "Where do ferns grow best?"}) + "\n")
        file.write(json.dumps({"_id": "x4", "text": "where do ferns grow best"}) + "\n")
    with (garden / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "d1", "title": "", "text": body}) + "\n")
        file.write(json.dumps({"_id": "d2", "title": "", "text": body.replace("twice", "once")}) + "\n")
    with (garden / "qrels" / "train.tsv").open("a") as file:
        file.write("x1\td1\t1\nx3\td1\t1\n")
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("x2\td2\t1\nx4\td2\t1\n")
    report = check(read_dataset(garden))
    leaks = {(leak.kind, leak.split): leak.count for leak in report.leakage if leak.severe}
    assert leaks == {("near duplicate", "test"): 1, ("normalised", "test"): 1}
    repeated = {finding.file: finding.count for finding in report.faults if finding.kind == "near duplicate"}
    assert repeated["queries"] == 2
    assert repeated["documents"] >= 1


def test_a_title_without_text_leaks_and_is_dropped(garden):
    with (garden / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "t", "title": "Where do ferns grow best?", "text": ""}\n')
    with (garden / "queries.jsonl").open("a") as file:
        file.write('{"_id": "x", "text": "where do ferns grow best?"}\n{"_id": "y", "text": "a place for ferns"}\n')
    with (garden / "qrels" / "train.tsv").open("a") as file:
        file.write("y\tt\t1\n")
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("x\tfern-care\t1\n")
    data = read_dataset(garden)
    assert found(data.retrieval)[("query is trained document", "test")] == 1
    cleaned, changes = clean(data, CleanConfig(leakage="drop"))
    assert [(fault.kind, fault.found) for fault in changes.dropped] == [("stands in another split too", "y")]
    assert [leak for leak in find_leakage(cleaned.retrieval) if leak.severe] == []


def test_planted_leaks_are_all_found(shared):
    leaks = found(read_retrieval(shared / "messy" / "leak_retrieval"))
    assert leaks[("query id", "test")] == 20
    assert leaks[("query text", "test")] == 10


def test_a_held_out_split_shares_neither_query_nor_document(garden_data):
    data = hold_out(garden_data, "held", share=0.2)
    train, held = data.qrels["train"], data.qrels["held"]
    assert train.num_rows + held.num_rows == 56
    assert 0 < held.num_rows <= 12
    for column in ("query_id", "corpus_id"):
        assert not set(train[column].to_pylist()) & set(held[column].to_pylist())


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_holding_out_does_not_depend_on_the_order_of_rows(garden_data, random, seed):
    rows = garden_data.qrels["train"].to_pylist()
    random.shuffle(rows)
    shuffled = garden_data.with_split("train", pa.Table.from_pylist(rows, schema=garden_data.qrels["train"].schema))

    def held(data):
        return set(hold_out(data, "held", share=0.3, seed=seed).qrels["held"]["query_id"].to_pylist())

    assert held(shuffled) == held(garden_data)


def test_pairs_move_with_their_queries(tmp_path):
    lines = "".join(f"query number {i},document number {i // 2}\n" for i in range(40))
    (tmp_path / "p.csv").write_text("anchor,positive\n" + lines)
    data = hold_out(read_retrieval(tmp_path / "p.csv"), "dev", share=0.25)
    train, dev = data.training_pairs("train"), data.training_pairs("dev")
    assert train.num_rows + dev.num_rows == 40
    assert not set(train["positive"].to_pylist()) & set(dev["positive"].to_pylist())


def test_one_component_cannot_be_split(tmp_path):
    (tmp_path / "p.csv").write_text("anchor,positive\n" + "".join(f"q{i},the only document\n" for i in range(30)))
    with pytest.raises(DataError, match="none can be held out"):
        hold_out(read_retrieval(tmp_path / "p.csv"))


def test_a_document_judged_irrelevant_joins_no_queries(garden_data):
    train = garden_data.qrels["train"]
    queries = train["query_id"].unique()
    columns = [queries, pa.array(["fern-care"] * len(queries)), pa.array([0] * len(queries), pa.int32())]
    judged = pa.concat_tables([train, pa.table(columns, schema=train.schema)])
    held = hold_out(garden_data.with_split("train", judged), "held", share=0.2).qrels["held"]
    assert held.filter(pc.greater(held["grade"], 0)).equals(hold_out(garden_data, "held", share=0.2).qrels["held"])
