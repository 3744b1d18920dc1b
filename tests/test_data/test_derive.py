"""Pairs out of documents: each strategy on real files of the test garden's kind, and what the filter takes away."""

import numpy as np
import pytest

from embedft.data.corpus import read_documents
from embedft.data.derive import Derived, Document, PairReport, derive, drop_repeated, round_trip, sentences
from embedft.data.extract import chunk, chunked
from embedft.errors import ConfigError

MARKDOWN = """# Tomatoes

Tomatoes want sun and a deep, loose soil. Plant them after the last frost. Water the roots and not the leaves.

## When to water them

Water early in the morning, two or three times a week, and more often when it is hot for days.

See [the page on basil](herbs/basil.md) too.
"""
HTML = """<html><head><title>Basil</title><script>var x = 1;</script></head><body><nav><p>menu</p></nav>
<h1>Basil</h1><p>Basil is a herb that likes warmth. It dies at the first frost, so keep it inside until May.</p>
<h2>How do I harvest basil?</h2><p>Cut whole shoots above a pair of leaves, so that the plant branches and grows on.</p>
<p><a href="../tomato.md">growing tomatoes</a></p></body></html>"""
RST = """Compost
=======

Compost is made of what the garden leaves over. It takes half a year in a heap that is turned now and then.

What may go in
--------------

Leaves, cut grass, coffee grounds and vegetable scraps may go in, but neither meat nor cooked food.
"""
CODE = '''def water(plant, amount):
    """Pour an amount of water on a plant.

    Nothing is said of the rest.
    """
    plant.moisture += amount
    return plant
'''


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "herbs").mkdir()
    (tmp_path / "tomato.md").write_text(MARKDOWN)
    (tmp_path / "herbs" / "basil.md").write_text(
        "# Basil in pots\n\n" + "A pot needs holes, gravel and good soil to start with. " * 2
    )
    (tmp_path / "herbs" / "basil.html").write_text(HTML)
    (tmp_path / "compost.rst").write_text(RST)
    (tmp_path / "water.py").write_text(CODE)
    return tmp_path


def words(texts):
    return np.array([len(text.split()) for text in texts])


def made_by(documents, strategy):
    pairs, report = derive(documents, [strategy])
    assert report.made.total() == len(pairs)
    return {pair.anchor: pair for pair in pairs}


def test_documents_keep_the_structure_of_their_files(docs):
    found = {document.id: document for document in read_documents(docs)}
    assert set(found) == {"tomato.md", "herbs/basil.md", "herbs/basil.html", "compost.rst", "water.py"}
    assert found["tomato.md"].title == "Tomatoes"
    assert [section.heading for section in found["tomato.md"].sections] == ["Tomatoes", "When to water them"]
    assert ("the page on basil", "herbs/basil.md") in found["tomato.md"].links
    assert found["herbs/basil.html"].links == (("growing tomatoes", "tomato.md"),)
    assert "menu" not in found["herbs/basil.html"].text
    assert "var x" not in found["herbs/basil.html"].text
    assert [section.heading for section in found["compost.rst"].sections] == ["Compost", "What may go in"]


def test_each_strategy_reads_its_own_pairs(docs):
    found = read_documents(docs)
    assert made_by(found, "title")["Tomatoes"].document == "tomato.md"
    assert made_by(found, "heading")["Tomatoes: When to water them"].positive.startswith("Water early in the morning")
    assert "How do I harvest basil?" in made_by(found, "faq")
    assert made_by(found, "link")["growing tomatoes"].document == "tomato.md"
    (pair,) = made_by(found, "docstring").values()
    assert pair.anchor == "Pour an amount of water on a plant."
    assert "Nothing is said" not in pair.positive
    assert "plant.moisture += amount" in pair.positive
    text = Document("d", "", "Frost kills basil in one night. Keep it inside until the middle of May, then let it out.")
    ((first, pair),) = made_by([text], "first").items()
    assert first == "Frost kills basil in one night."
    assert first not in pair.positive
    long = Document(
        "d", "", "One is the first of all. Two comes right after one. Three follows and ends this short list here."
    )
    (pair,) = made_by([long], "cloze").values()
    assert pair.anchor not in pair.positive
    assert pair.anchor in long.text


def test_a_faq_of_plain_lines_is_read():
    text = (
        "Q: How deep do I plant garlic?\nA: About five centimetres, with the tip of each clove up.\n\n"
        "Why does my garlic rot?\nBecause the soil stays wet for too long in winter here."
    )
    pairs = made_by([Document("d", "", text)], "faq")
    assert pairs["How deep do I plant garlic?"].positive.startswith("About five")
    assert pairs["Why does my garlic rot?"].positive.startswith("Because the soil")


def test_an_unknown_strategy_is_named():
    with pytest.raises(ConfigError, match="no strategy is named 'magic'"):
        derive([], ["magic"])


def test_the_filter_counts_what_it_drops():
    pairs = [
        Derived("what is basil", "a herb that likes warmth", "title", "1"),
        Derived("What is basil?", "A herb that likes warmth!", "first", "2"),
        Derived("the same words", "The same words.", "title", "3"),
        Derived("what is thyme", "another herb that needs sun", "title", "4"),
    ]
    report = PairReport()
    left = drop_repeated(pairs, report)
    assert [pair.document for pair in left] == ["1", "4"]
    kept = round_trip(left, np.array([1, 30]), report, top_k=20)
    assert [pair.document for pair in kept] == ["1"]
    assert report.as_dict()["dropped"] == {
        "near duplicate": {"first": 1},
        "query is its answer": {"title": 1},
        "not found by the encoder": {"title": 1},
    }
    assert report.kept == {"title": 1}


def test_chunks_respect_their_limit_and_lose_nothing():
    text = "\n\n".join(" ".join(f"word{n}-{m}" for m in range(7)) + " end. Next one here." for n in range(20))
    parts = list(chunk(Document("d", "t", text), words, 30))
    assert len(parts) > 3
    assert all(words([part.text])[0] <= 30 for part in parts)
    assert " ".join(part.text for part in parts).split() == text.split()
    assert len({part.id for part in parts}) == len(parts)


def test_chunks_keep_what_stands_before_the_first_heading_and_headings_without_text(tmp_path):
    intro = "The intro says a thing that nobody repeats below."
    page = f"{intro}\n\n# Part\n\n## One\n\n{'word ' * 30}\n\n## Two\n\n{'other ' * 30}\n"
    (tmp_path / "a.md").write_text(page)
    (document,) = read_documents(tmp_path)
    parts = list(chunk(document, words, 32))
    assert len(parts) > 2
    assert " ".join(part.text for part in parts).split() == document.text.split()
    assert intro in parts[0].text
    assert [anchor for anchor, pair in made_by([document], "heading").items()] == ["Part: One", "Part: Two"]


def test_links_lead_to_the_first_part_of_a_document_that_was_cut(tmp_path):
    (tmp_path / "a.md").write_text(f"# One\n\n{'word ' * 30}\n\n# Two\n\n{'other ' * 30}\n")
    (tmp_path / "b.md").write_text(f"# B\n\nsee [growing words](a.md) for it {'x ' * 10}")
    parts = chunked(read_documents(tmp_path), words, 32)
    assert [part.id for part in parts] == ["a.md#1", "a.md#2", "b.md"]
    assert made_by(parts, "link")["growing words"].document == "a.md#1"


def test_texts_beyond_the_length_of_the_encoder_are_counted_and_cut(encoder):
    sentence = "A gardener waters ferns. "
    (long, short) = encoder.count_tokens([sentence * 400, sentence])
    assert long > 3 * encoder.max_length
    assert short == len(encoder.tokenize([sentence])[0])
    parts = list(chunk(Document("d", "", sentence * 400), encoder.count_tokens, encoder.max_length + 100))
    assert len(parts) > 2


def test_sentences_keep_their_closing_marks():
    text = 'He said "Go home." Then (it was late.) We asked ("Why?") She said \u201cNo.\u201d Nobody went.'
    assert sentences(text) == [
        'He said "Go home."', "Then (it was late.)", 'We asked ("Why?")', "She said \u201cNo.\u201d", "Nobody went.",
    ]  # fmt: skip


def test_a_title_is_named_by_whole_words_alone():
    artery = "Artery disease is common in old people and it is treated with pills. "
    artery += "The heart pumps blood through a hundred thousand kilometres of vessels."
    ((_, pair),) = made_by([Document("1", "Art", artery)], "title").items()
    assert pair.positive == artery
    ((anchor, _),) = made_by([Document("1", "Art", artery)], "first").items()
    assert anchor.startswith("Art: Artery disease")
    # A vowel sign continues the word ("day", "days").
    days = "\u0926\u093f\u0928\u094b\u0902 a b c d e f g h"
    ((_, pair),) = made_by([Document("1", "\u0926\u093f\u0928", days)], "title").items()
    assert pair.positive == days


def test_sentences_say_what_they_are_about():
    text = "This condition is rare and begins in childhood. Fever and pain come and go in attacks of two days. "
    text += "Colchicine prevents most of these attacks, if it is taken every day."
    fever = Document("f", "Familial Mediterranean fever", text)
    for strategy, query in (("first", "This condition is rare and begins in childhood."), ("cloze", None)):
        ((anchor, pair),) = made_by([fever], strategy).items()
        assert anchor.startswith("Familial Mediterranean fever: ")
        assert query is None or anchor.endswith(query)
        assert anchor.removeprefix("Familial Mediterranean fever: ") not in pair.positive
    named = Document("f", "fever", "A Fever is more than 38 degrees. " + text)
    assert list(made_by([named], "first")) == ["A Fever is more than 38 degrees."]


def test_every_other_answer_has_its_title():
    body = "This condition is rare. It begins in childhood, with fever and pain that come and go in {} days."
    documents = [Document(str(n), "Familial fever", body.format(n)) for n in range(200)]
    pairs, _ = derive(documents, ["first"])
    assert {pair.anchor for pair in pairs} == {"Familial fever: This condition is rare."}
    assert 70 < sum(pair.positive.startswith("Familial fever ") for pair in pairs) < 130


def test_a_title_that_the_text_repeats_is_no_answer():
    title = "flow past a flat plate ."
    text = f"{title} an experiment was made in a wind tunnel . the lift of the plate was found to rise with its angle ."
    document = Document("1", title, text)
    assert made_by([document], "title")[title].positive.startswith("an experiment was made")
    ((anchor, pair),) = made_by([document], "first").items()
    assert anchor == f"{title[:-2]}: an experiment was made in a wind tunnel ."
    assert pair.positive.endswith("the lift of the plate was found to rise with its angle .")


def test_a_title_of_several_documents_finds_none_of_them():
    text = "a text of more than eight words that tells of the thing number"
    documents = [Document(str(n), title, f"{text} {n}") for n, title in enumerate(("Causes", "causes ", "Symptoms"))]
    pairs, report = derive(documents, ["title"])
    assert [pair.anchor for pair in pairs] == ["Symptoms"]
    assert report.dropped == {"title of several documents": {"title": 2}}


def test_code_with_form_feeds_and_classes_on_one_line():
    feed = 'import os\n\x0c\ndef area(width, height):\n    """Return the area of a rectangle."""\n'
    feed += "    return width * height\n"
    pairs = made_by([Document("a.py", "", feed)], "docstring")
    assert pairs["Return the area of a rectangle."].positive == "def area(width, height):\n    return width * height"
    line = 'class Broken(Exception): "Raised when a thing is broken"; code = 1\n'
    assert made_by([Document("b.py", "", line)], "docstring") == {}
