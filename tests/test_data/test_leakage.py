"""Leakage is found, and a held-out part has none."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.data import drop_leaking_queries, find_leakage, hold_out, read_retrieval
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
