"""Queries made of documents: parts of them, each once, the same for the same seed."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.data.derive import sentences as split
from embedft.index.held_out import queries_of, read_queries, write_queries

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=6)
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=20)


def documents(texts):
    return pa.table({"text": pa.array(texts, pa.string())})


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.integers(0, 25), st.integers(0, 9))
def test_each_query_is_a_part_of_a_document_and_stands_once(texts, count, seed):
    queries = queries_of(documents(texts), count, seed)
    assert len(queries) <= count
    assert len(set(queries)) == len(queries)
    for query in queries:
        assert query.strip()
        assert any(query in text for text in texts)


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(0, 9))
def test_the_same_seed_makes_the_same_queries(texts, seed):
    assert queries_of(documents(texts), 5, seed) == queries_of(documents(texts), 5, seed)


def test_a_query_is_one_sentence_of_several():
    text = "The first one is long. The second one is longer. Short."
    made = {queries_of(documents([text]), seed=seed)[0] for seed in range(20)}
    assert made == {"The first one is long.", "The second one is longer."}


def test_a_query_is_half_the_words_of_a_single_sentence():
    for seed in range(10):
        (query,) = queries_of(documents(["one two three four five six seven"]), seed=seed)
        assert len(query.split()) == 4
        assert query in "one two three four five six seven"


@settings(max_examples=50, deadline=None)
@given(TEXTS, st.integers(0, 9))
def test_no_query_is_a_whole_document(texts, seed):
    sentences = {part for text in texts for part in split(text)}
    assert not (set(queries_of(documents(texts), seed=seed)) - sentences) & set(texts)
    for text in texts:
        assert text not in queries_of(documents([text]), seed=seed)


def test_a_text_without_spaces_is_halved_by_characters():
    text = "シダ植物は胞子で増える。日陰を好む。"
    (query,) = queries_of(documents([text]))
    assert len(query) == (len(text) + 1) // 2
    assert query in text


def test_texts_too_short_to_be_halved_make_no_query():
    assert queries_of(documents(["fern", "two words", "シダは増える。", "1234567"])) == []


def test_another_seed_draws_other_documents():
    texts = [f"number {number} of many documents" for number in range(100)]
    assert queries_of(documents(texts), 10, seed=0) != queries_of(documents(texts), 10, seed=1)


def test_empty_documents_make_no_query():
    assert queries_of(documents(["", " ", "\n\t"])) == []
    assert queries_of(documents([])) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=20), min_size=1, max_size=5), st.booleans())
def test_what_is_read_is_what_was_written(tmp_path_factory, texts, given):
    folder = tmp_path_factory.mktemp("queries")
    write_queries(folder, texts, given=given)
    assert read_queries(folder) == (texts, given)


def test_lines_in_a_query_do_not_make_two_of_it(tmp_path):
    texts = ["a\nb", "c\r\nd", "e\u2028f\x85g\x0ch", "half a pair: \ud800"]
    write_queries(tmp_path, texts, given=True)
    assert read_queries(tmp_path) == (texts, True)
