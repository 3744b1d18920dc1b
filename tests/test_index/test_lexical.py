"""BM25: equal to its formula, to bm25s and to itself, in whatever order and by however many threads it is asked."""

import json
import math
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import ArtifactError, ConfigError, DataError
from embedft.index.lexical import Lexical, Words
from embedft.index.lexical.bm25 import K1, B, best_rows
from embedft.index.lexical.words import fold, spans, surfaces

TEXTS = [
    "The wings of an aircraft in supersonic flow.",
    "Boundary layers on a flat plate: heat transfer in supersonic flow, flow, flow.",
    "A recipe for bread, with flour and water.",
    "",
    "Breads of the world; a baker's guide to bread and breads.",
    "...",
    "Wing flutter of an aircraft.",
]
NOUNS = ["wing", "flow", "plate", "heat", "bread", "flour", "water", "baker", "guide", "world", "layer"]


def written(folder, texts=TEXTS, **options):
    Lexical.write(iter(texts), folder, **options)
    return Lexical.open(folder)


def random_texts(seed, count, longest=12):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(NOUNS, rng.integers(0, longest))) for _ in range(count)]


def by_formula(texts, query, words):
    """Lucene's BM25, written out."""
    documents = list(words.terms(texts))
    mean = sum(map(len, documents)) / len(documents)
    scores = np.zeros(len(texts))
    for term in next(words.terms([query])):
        holding = sum(term in document for document in documents)
        rarity = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for row, document in enumerate(documents):
            count = Counter(document)[term]
            scores[row] += rarity * count / (count + K1 * (1 - B + B * len(document) / mean)) if count else 0
    return scores


@pytest.mark.parametrize("query", ["supersonic flow", "bread", "the wing of an aircraft", "flow flow bread", "nothing"])
def test_scores_are_those_of_the_formula(tmp_path, query):
    lexical = written(tmp_path / "words")
    scores, rows = lexical.search([query], len(TEXTS))
    expected = by_formula(TEXTS, query, lexical.words)
    order = [row for row in np.argsort(-expected, kind="stable") if expected[row] > 0]
    assert rows[0].tolist() == order + [-1] * (len(TEXTS) - len(order))
    np.testing.assert_allclose(scores[0, : len(order)], expected[order], rtol=1e-5)
    assert np.isneginf(scores[0, len(order) :]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_documents_of_the_index_score_their_own_score_as_others(tmp_path_factory, seed, count):
    texts, queries = random_texts(seed, count), random_texts(seed + 1, 4, 5)
    lexical = written(tmp_path_factory.mktemp("words"), texts)
    scores, rows = lexical.search(queries, count)
    own = np.zeros((len(queries), count), np.float32)
    for query, (found, places) in enumerate(zip(scores, rows, strict=True)):
        own[query, places[places >= 0]] = found[places >= 0]
    np.testing.assert_allclose(lexical.score_prepared(queries, lexical.prepare(texts)), own, rtol=1e-5)


def test_a_word_that_only_others_have_is_as_rare_as_can_be(tmp_path):
    lexical = written(tmp_path / "words")
    known, unknown = lexical.score_prepared(["supersonic", "quasar"], lexical.prepare(["supersonic quasar"]))
    assert unknown[0] > known[0] > 0


def test_equal_documents_come_in_row_order_across_the_cut(tmp_path):
    lexical = written(tmp_path / "words", ["bread"] * 50 + ["bread bread", ""])
    assert lexical.search(["bread"], 5)[1].tolist() == [[50, 0, 1, 2, 3]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), max_size=30), st.integers(1, 12))
def test_best_rows_are_the_first_of_a_stable_sort(scores, k):
    values = np.array(scores, np.float32)
    order = [row for row in np.argsort(-values, kind="stable") if values[row] > 0]
    assert best_rows(values, k).tolist() == order[:k]


def test_only_allowed_documents_are_hits(tmp_path):
    lexical = written(tmp_path / "words")
    allowed = np.ones(len(TEXTS), bool)
    allowed[0] = False
    assert lexical.search(["aircraft wings"], 3)[1].tolist() == [[6, 0, -1]]
    assert lexical.search(["aircraft wings"], 3, allowed)[1].tolist() == [[6, -1, -1]]
    assert lexical.search(["aircraft wings"], 3, ~allowed)[1].tolist() == [[0, -1, -1]]
    assert lexical.search(["aircraft wings"], 3)[1].tolist() == [[6, 0, -1]]


def test_a_query_alone_is_answered_as_among_others(tmp_path):
    texts, queries = random_texts(0, 200), random_texts(1, 20, 4)
    lexical = written(tmp_path / "words", texts)
    together = lexical.search(queries, 7)
    for number, query in enumerate(queries):
        alone = lexical.search([query], 7)
        np.testing.assert_array_equal(alone[1][0], together[1][number])
        np.testing.assert_array_equal(alone[0][0], together[0][number])


def test_threads_get_the_same_answers(tmp_path):
    texts, queries = random_texts(2, 300), random_texts(3, 40, 4)
    lexical = written(tmp_path / "words", texts)
    others = lexical.prepare(random_texts(4, 50))
    expected = lexical.search(queries, 10)[1], lexical.score_prepared(queries, others)
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: (lexical.search(queries, 10)[1], lexical.score_prepared(queries, others)), range(24))
        )
    for answer in answers:
        np.testing.assert_array_equal(answer[0], expected[0])
        np.testing.assert_array_equal(answer[1], expected[1])


def test_ranks_as_bm25s_does(tmp_path):
    import bm25s

    texts, queries = random_texts(5, 100), random_texts(6, 10, 4)
    lexical = written(tmp_path / "words", texts)
    theirs = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
    theirs.index(list(lexical.words.terms(texts)), show_progress=False)
    for query, scores in zip(queries, lexical.search(queries, 100)[0], strict=True):
        terms = next(lexical.words.terms([query]))
        expected = np.sort(theirs.get_scores(terms))[::-1] if terms else np.zeros(100)
        np.testing.assert_allclose(np.where(np.isneginf(scores), 0, scores), expected, rtol=1e-6)


@pytest.mark.parametrize("texts", [[], ["", "..."], ["the of"]])
def test_documents_without_words_can_be_written_and_find_nothing(tmp_path, texts):
    lexical = written(tmp_path / "words", texts)
    scores, rows = lexical.search(["anything", ""], 3)
    assert len(lexical) == len(texts)
    assert rows.tolist() == [[-1] * 3] * 2
    assert np.isneginf(scores).all()
    assert lexical.score_prepared(["bread"], lexical.prepare(["bread", "water"]))[0].tolist() > [0.0, 0.0]
    assert lexical.score_prepared(["bread"], lexical.prepare([])).shape == (1, 0)


def test_written_twice_is_the_same_bytes(tmp_path):
    written(tmp_path / "one")
    written(tmp_path / "two")
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_language_is_kept_with_the_index(tmp_path):
    texts = ["Die Häuser am Fluß", "Ein Haus in der Stadt"]
    assert written(tmp_path / "german", texts, language="german").search(["Häusern"], 2)[1].tolist() == [[0, 1]]
    assert written(tmp_path / "none", texts, language=None).search(["Häusern", "die"], 2)[1].tolist() == [
        [-1, -1],
        [0, -1],
    ]
    with pytest.raises(ConfigError, match="klingon"):
        Lexical.write(texts, tmp_path / "klingon", language="klingon")


@pytest.mark.parametrize("name", ["lexical.json", "vocabulary.arrow", "data.csc.index.npy", "params.index.json"])
def test_a_missing_or_foreign_file_is_a_named_error(tmp_path, name):
    written(tmp_path / "words")
    (tmp_path / "words" / name).unlink()
    with pytest.raises(ArtifactError, match="no BM25 index"):
        Lexical.open(tmp_path / "words")
    (tmp_path / "words" / name).write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="no BM25 index"):
        Lexical.open(tmp_path / "words")


def test_files_that_do_not_fit_each_other_are_a_named_error(tmp_path):
    written(tmp_path / "one")
    written(tmp_path / "two", TEXTS[:2])
    (tmp_path / "two" / "vocabulary.arrow").replace(tmp_path / "one" / "vocabulary.arrow")
    with pytest.raises(ArtifactError, match="terms, but"):
        Lexical.open(tmp_path / "one")


def test_a_later_format_is_named(tmp_path):
    written(tmp_path / "words")
    file = tmp_path / "words" / "lexical.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(ArtifactError, match="format 9"):
        Lexical.open(tmp_path / "words")


def test_wrong_arguments_are_refused(tmp_path):
    lexical = written(tmp_path / "words")
    with pytest.raises(DataError, match="single string"):
        lexical.search("bread", 3)
    with pytest.raises(DataError, match="k is 0"):
        lexical.search(["bread"], 0)
    with pytest.raises(DataError, match=r"\(2,\) for 7 documents"):
        lexical.search(["bread"], 3, np.ones(2, bool))
    with pytest.raises(DataError, match="single string"):
        lexical.score_prepared(["bread"], lexical.prepare("bread"))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running runners RAN", ["run", "runner", "ran"]),
        ("the Café's CAFE cafe\u0301", ["cafe", "cafe", "cafe"]),
        ("read_csv(x) vitamin C", ["read", "csv", "x", "vitamin", "c"]),
        ("ﬁnd Ⅳ", ["find", "iv"]),
        ("İstanbul istanbul", ["istanbul", "istanbul"]),
        ("機械学習は", ["機械", "械学", "学習", "習は"]),
        ("iPhone手机 字", ["iphon", "手机", "字"]),
        ("한국어 문서", ["한국어", "문서"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("!? \U0001f600", []),
    ],
)
def test_terms_of_a_text(text, terms):
    assert next(Words.of("english").terms([text])) == terms


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_words_stand_where_their_spans_say(text):
    found = list(spans(text))
    assert [text[start:end] for start, end in found] == surfaces(text)
    assert all(0 <= start < end <= len(text) for start, end in found)
    assert found == sorted(found)


def test_every_letter_is_folded_wholly():
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    assert [letter for letter in letters if fold(fold(letter)) != fold(letter)] == []
    assert fold("\N{PARENTHESIZED LATIN CAPITAL LETTER A}\N{MODIFIER LETTER CAPITAL B}") == "(a)b"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_folding_twice_changes_nothing_more(word):
    assert fold(fold(word)) == fold(word)
