"""What each stress does to a text, and what it leaves alone."""

import html
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedft.data.thesaurus import ThesaurusFile
from embedft.evaluation.stress import STRESSES, stresses_for
from embedft.evaluation.stress.contrast import Nearness
from embedft.evaluation.stress.letters import SOFT_HYPHEN, TWINS
from embedft.evaluation.stress.negation import negated
from embedft.evaluation.stress.stresses import synonyms
from embedft.evaluation.stress.surroundings import SENTENCES
from embedft.evaluation.stress.wording import looks_english

BY_NAME = {stress.name: stress for stress in STRESSES}
TEXTS = (
    "What are the treatments for rheumatoid arthritis in young children?",
    "How do I water a fern  when it stands\tindoors",
    "A man is playing a large flute. Two women don't listen because it's late.",
    "Müller's café serves naïve guests if they aren't hungry",
    "flutter of panels with transverse stiffeners at supersonic speed",
)
CASES = [(stress, strength) for stress in STRESSES for strength in stress.strengths]
NAMES = [stress.described(strength) for stress, strength in CASES]


def distance(left, right):
    """Levenshtein's."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def changed(name, strength=None, texts=TEXTS):
    """Each text and what the stress makes of it, of those that it changes; some are."""
    pairs = [(text, BY_NAME[name](text, strength)) for text in texts]
    found = [(before, after) for before, after in pairs if before != after]
    assert found
    return found


@pytest.mark.parametrize(("stress", "strength"), CASES, ids=NAMES)
def test_a_text_becomes_the_same_whenever_it_is_asked_for_and_nothing_at_no_strength(stress, strength):
    first = [stress(text, strength) for text in TEXTS]
    assert [stress(text, strength) for text in reversed(TEXTS)] == first[::-1]
    assert [stress(text, 0) for text in TEXTS] == list(TEXTS)
    for nothing in ("", " ", "\n\t"):
        assert stress(nothing, strength) == nothing


def test_what_a_text_becomes_does_not_depend_on_the_process():
    # Stored results are compared across machines: a change here is a change of every result.
    assert BY_NAME["typos"]("how do I prune roses in winter", 0.3) == "how do I purne roses in wnter"


@pytest.mark.parametrize("name", ["typos", "misread", "look-alikes", "polite frame", "sentence before"])
def test_another_seed_draws_another_change(name):
    strength = BY_NAME[name].strengths[-1]
    assert [BY_NAME[name](text, strength, seed=0) for text in TEXTS] != [
        BY_NAME[name](text, strength, seed=1) for text in TEXTS
    ]


@given(st.text(max_size=60), st.sampled_from(CASES))
def test_any_text_stays_a_text_with_something_in_it(text, case):
    stress, strength = case
    assert bool(stress(text, strength).strip()) == bool(text.strip())


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0])
def test_typos_change_that_share_of_the_words_by_one_slip_and_no_first_letter(strength):
    for before, after in changed("typos", strength):
        assert re.findall(r"\s+", before) == re.findall(r"\s+", after)
        pairs = [pair for pair in zip(before.split(), after.split(), strict=True) if pair[0] != pair[1]]
        open_to = sum(len(word) >= 4 and word.isalpha() for word in before.split())
        assert len(pairs) == min(max(1, round(strength * len(before.split()))), open_to)
        assert all(distance(*pair) <= 2 and pair[0][0] == pair[1][0] for pair in pairs)


@pytest.mark.parametrize("strength", [0.03, 0.1, 1.0])
def test_misreading_changes_no_more_than_that_share_of_the_letters(strength):
    for before, after in changed("misread", strength, [*TEXTS, "modern corn barns burn"]):
        letters = len(re.sub(r"\s", "", before))
        assert 1 <= distance(before, after) <= 2 * max(1, round(strength * letters))
        assert len(before.split()) == len(after.split())


def test_look_alikes_differ_in_nothing_that_a_reader_sees():
    back = str.maketrans({twin: letter for letter, twin in TWINS.items()})
    for before, after in changed("look-alikes", 0.5):
        assert after.translate(back) == before
        sites = sum(letter in TWINS for letter in before)
        assert sum(a != b for a, b in zip(before, after, strict=True)) == round(0.5 * sites)


def test_soft_hyphens_are_all_that_comes_in():
    for before, after in changed("soft hyphens", 0.5):
        assert after.replace(SOFT_HYPHEN, "") == before
        assert all(re.fullmatch(r"\w{2,}\u00ad\w{2,}", word) for word in after.split() if SOFT_HYPHEN in word)


def test_only_marks_are_lost_with_diacritics():
    assert changed("no diacritics") == [(TEXTS[3], "Muller's cafe serves naive guests if they aren't hungry")]
    decomposed = "cafe\u0301"
    assert BY_NAME["no diacritics"](decomposed) == "cafe"


def test_case_alone_changes_with_case():
    for name in ("upper case", "lower case"):
        for before, after in changed(name):
            assert before.casefold() == after.casefold()
    assert BY_NAME["lower case"]("all is low already") == "all is low already"


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.9])
def test_what_is_cut_is_cut_from_one_end(strength):
    for before, after in changed("cut end", strength):
        assert before.startswith(after)
        assert len(after.split()) >= len(before.split()) * (1 - strength)
        assert len(after.split()) - 1 < len(before.split()) * (1 - strength)
    for before, after in changed("cut start", strength):
        assert before.endswith(after)
        assert len(after.split()) == len(BY_NAME["cut end"](before, strength).split())
    assert BY_NAME["cut end"]("word", 0.9) == "word"


def test_other_sentences_stand_beside_the_text():
    for before, after in changed("sentence before", 1.0):
        assert after.endswith(" " + before)
        assert after[: -len(before) - 1] in SENTENCES
    for before, after in changed("sentence after", 1.0):
        assert after.startswith(before + " ")
        assert after[len(before) + 1 :] in SENTENCES


def test_markup_hides_the_same_words():
    for before, after in changed("markup", 0.2):
        assert html.unescape(re.sub(r"<[^>]*>", " ", after)).split() == before.split()
        assert after.startswith("<p>")
    assert BY_NAME["markup"]("a < b", 0.2).count("&lt;") == 1


def test_odd_white_space_divides_the_same_words():
    for before, after in changed("white space", 0.5):
        assert after.split() == before.split()


def test_words_are_exchanged_and_none_is_lost():
    for before, after in changed("word order", 0.3):
        assert Counter(before.split()) == Counter(after.split())
        assert re.findall(r"\s+", before) == re.findall(r"\s+", after)


def test_keywords_are_words_of_the_text_in_their_order_and_negations_stay():
    keywords = BY_NAME["keywords"]
    assert keywords(TEXTS[0]) == "treatments rheumatoid arthritis young children"
    assert keywords("Why isn't my card working, and what's next?") == "isn't card working next"
    assert keywords("how not to do it") == "not"
    # Of function words alone nothing would be left.
    assert keywords("What is it?") == "What is it?"


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("I don't know", "I do not know"),
        ("It can't be", "It cannot be"),
        ("it won't work", "it will not work"),
        ("What's the reason?", "What is the reason?"),
        ("They're here and I'm not", "They are here and I am not"),
    ],
)
def test_contractions_are_written_out_or_made(short, long):
    assert BY_NAME["contractions"](short) == long
    assert BY_NAME["contractions"](long) == short


def test_what_is_no_contraction_stays():
    for text in ("I know what it is", "it's been long", "the patient's doctor", "he'd better"):
        assert BY_NAME["contractions"](text) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Can I have a card if I live abroad?", "If I live abroad, can I have a card?"),
        ("I lost my card. How do I block it?", "How do I block it? I lost my card."),
        ("Do you know when my card arrives?", None),
        ("What is E. coli found in?", None),
        ("the weather in winter", None),
    ],
)
def test_clauses_change_places_where_they_can(before, after):
    assert BY_NAME["clause order"](before) == (after or before)


def test_synonyms_come_out_of_the_thesaurus(tmp_path):
    path = tmp_path / "thesaurus.txt"
    path.write_text("large;big\nflute;recorder\n")
    stress = synonyms(ThesaurusFile(path))
    assert stress(TEXTS[2], 0.3) == TEXTS[2].replace("large", "big").replace("flute", "recorder")
    assert "synonyms" in [one.name for one in stresses_for("similarity", ThesaurusFile(path))]
    assert "synonyms" not in [one.name for one in stresses_for("similarity")]


def test_a_frame_is_for_what_asks():
    assert BY_NAME["polite frame"]("what is rust").endswith("what is rust")
    assert "polite frame" in [stress.name for stress in stresses_for("retrieval")]
    assert "polite frame" not in [stress.name for stress in stresses_for("similarity")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A man is playing a flute.", "A man is not playing a flute."),
        ("A man is not playing a flute.", "A man is playing a flute."),
        ("What are the symptoms of flu?", "What aren't the symptoms of flu?"),
        ("How do I freeze my account?", "How do I not freeze my account?"),
        ("How does cancer spread?", "How doesn't cancer spread?"),
        ("I cannot log in", "I can log in"),
        ("The app won't let me in", "The app will let me in"),
        ("The model has a screen", "The model does not have a screen"),
        ("They have been told", "They have not been told"),
        ("flow with heat transfer", "flow without heat transfer"),
    ],
)
def test_rules_negate(before, after):
    assert negated(before) == after


@pytest.mark.parametrize(
    "text",
    [
        "Is it hereditary?",
        "Can you help me?",
        "I would like to know more",
        "the shape of wings",
        "profit compared with last year",
        "My card is lost. What now?",
        "",
    ],
)
def test_what_would_say_the_same_or_nothing_is_not_negated(text):
    assert negated(text) == text


def test_english_is_told_by_its_small_words():
    assert looks_english(TEXTS)
    assert not looks_english(["Wie viele Einwohner zählt die Stadt?", "Das Haus am See gehört einer alten Frau."])
    assert not looks_english([])


def test_nearness_counts_texts_that_are_nearer_to_their_negation():
    cosines, rivals = np.array([0.9, 0.8, 0.7, 0.95, 0.5]), np.array([0.8, 0.9, np.nan, 0.9, 0.4])
    kept = np.array([True, True, False, True, True])
    found = Nearness(9, cosines, rivals, "keywords", ("a", "not a"), kept, "it is the same").as_dict()
    assert (found["count"], found["of"], found["nearer_count"]) == (5, 9, 4)
    assert (found["cosine"], found["nearer"], found["kept"]) == pytest.approx((cosines.mean(), 3 / 4, 4 / 5))
    # Wilson 1927: the shares from which the observed one is 1.96 standard errors away.
    for end in (found["nearer_ci_low"], found["nearer_ci_high"]):
        assert abs(3 / 4 - end) / np.sqrt(end * (1 - end) / 4) == pytest.approx(1.959964, abs=1e-5)
    unknown = Nearness(9, cosines, np.full(5, np.nan), "keywords", ("a", "not a"))
    assert unknown.as_dict()["nearer"] is None
    assert "nearer" not in unknown.reading()
