"""Passages are parts of their text, with the words that the query has."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import ConfigError
from embedft.index.lexical import Words, highlight

LETTER = (
    "Thank you for your letter. The weather was fine all week. We walked a lot and ate too much. "
    "On Friday a cardiologist spoke about diabetes and the heart. She answered questions for an hour. "
    "Then it rained. The train home was late. Diabetes was not mentioned again."
)


def marked(passage):
    return [passage.text[start:end] for start, end in passage.spans]


TEXTS = st.text(st.sampled_from("ab Ü é\u0301字词。.!? \n\"')-x\U0001f600"), max_size=80)


@settings(max_examples=400, deadline=None)
@given(TEXTS | st.text(max_size=60), TEXTS | st.text(max_size=12), st.integers(1, 40))
def test_a_passage_is_a_part_of_its_text_and_spans_lie_inside(text, query, width):
    passage = highlight(text, query, width=width)
    assert passage.text == text[passage.start : passage.end]
    assert len(passage.text) <= width
    assert passage.text == passage.text.strip()
    assert bool(passage.text) == bool(text.strip()) or width < len(text)
    ends = [0, *(end for _, end in passage.spans)]
    for (start, end), before in zip(passage.spans, ends, strict=False):
        assert before <= start < end <= len(passage.text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["apple", "river", "stone", "cloud", "paper"]), min_size=1, max_size=60))
def test_a_word_that_stands_in_the_text_is_found(words):
    text = ". ".join(words).capitalize()
    passage = highlight(text, words[-1], width=30)
    assert marked(passage)
    assert all(word.lower() == words[-1] for word in marked(passage))


def test_the_passage_is_made_of_the_sentences_that_match():
    passage = highlight(LETTER, "What does cardiology say on diabetes?", width=70)
    assert passage.text == "On Friday a cardiologist spoke about diabetes and the heart."
    assert marked(passage) == ["cardiologist", "diabetes"]


def test_the_passage_goes_on_where_there_is_room():
    passage = highlight(LETTER, "cardiologist", width=120)
    assert passage.text.startswith("On Friday a cardiologist")
    assert passage.text.endswith("for an hour. Then it rained.")


def test_at_the_end_of_the_text_the_passage_begins_earlier():
    passage = highlight(LETTER, "mentioned", width=80)
    assert passage.text == "Then it rained. The train home was late. Diabetes was not mentioned again."


def test_without_a_match_the_passage_is_the_beginning():
    passage = highlight(LETTER, "quantum", width=60)
    assert passage.text == "Thank you for your letter. The weather was fine all week."
    assert (passage.start, passage.spans) == (0, [])


def test_a_rare_word_counts_more_than_one_that_stands_everywhere():
    text = "The wing. " * 20 + "A flutter was seen. " + "The wing. " * 20
    assert marked(highlight(text, "wing flutter", width=25)) == ["flutter"]


def test_more_different_words_count_more_than_one_word_often():
    text = "Rain, rain, rain and rain again. Some pages later. The rain stopped the train."
    assert marked(highlight(text, "rain train", width=35)) == ["rain", "train"]


def test_a_sentence_that_is_too_long_is_cut_between_words():
    text = "word " * 100 + "needle " + "word " * 100
    passage = highlight(text, "needle", width=40)
    assert marked(passage) == ["needle"]
    assert set(passage.text.split()) == {"word", "needle"}


@pytest.mark.parametrize(
    ("text", "query", "words"),
    [
        ("Running away", "RUNS", ["Running"]),
        ("Ein Café in Paris", "cafe", ["Café"]),
        ("un cafe\u0301 noir", "café", ["cafe\u0301"]),
        ("hypertension, hypertensive", "hypertensions", ["hypertension", "hypertensive"]),
        ("transport transplant", "transport", ["transport"]),
        ("the cat and the hat", "the cat", ["cat"]),
        ("to be or not to be", "to be", ["to", "be", "to", "be"]),
        ("我们学习机器学习。", "机器学习", ["学习", "机器学习"]),
        ("a_needle(x)", "needle", ["needle"]),
    ],
)
def test_which_words_match(text, query, words):
    assert marked(highlight(text, query)) == words


def test_words_of_another_language_are_read_by_its_stemmer():
    assert marked(highlight("Die Häuser der Stadt", "Haus", words=Words.of("german"))) == ["Häuser"]


def test_a_script_without_spaces_is_cut_near_the_match():
    text = "天" * 500 + "机器" + "地" * 500
    passage = highlight(text, "机器", width=80)
    assert marked(passage) == ["机器"]
    assert len(passage.text) <= 80


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_an_empty_text_has_an_empty_passage(text):
    passage = highlight(text, "query")
    assert (passage.text, passage.spans) == ("", [])


def test_a_width_below_one_is_refused():
    with pytest.raises(ConfigError, match="width is 0"):
        highlight("text", "query", width=0)
