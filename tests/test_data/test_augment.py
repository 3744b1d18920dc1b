"""Augmentation: what edits do to a text, which rows are made, that a later split keeps them with their parents."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedft.data.augment import AugmentConfig, augment
from embedft.data.clean import clean
from embedft.data.dataset import read_dataset
from embedft.data.edits import EDITS, edit
from embedft.data.split import SplitConfig, split
from embedft.data.store import write_dataset
from embedft.data.thesaurus import ThesaurusFile, WordNet, find_wordnet
from embedft.errors import ConfigError, DataError

TEXT = "The quick brown gardener waters twenty tomatoes early every morning before breakfast."


@pytest.fixture
def thesaurus(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# a comment\nquick;fast;rapid\nearly\tahead of time\n\nMorning,dawn\nquick;swift\n")
    return ThesaurusFile(path)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def numbered(count, **fields):
    return [{"text": f"{TEXT} Number {n} of {n * 7919 % 997}.", **fields, "label": f"c{n % 2}"} for n in range(count)]


@given(text=st.text(), method=st.sampled_from(sorted(EDITS)), rate=st.floats(0.01, 1), seed=st.integers(0, 99))
def test_no_text_breaks_an_edit_and_one_seed_gives_one_text(text, method, rate, seed):
    class Shouting:
        def synonyms(self, word):
            return (word.upper(),) if word != word.upper() else ()

    done = edit(text, method, rate, Random(seed), Shouting())
    assert done == edit(text, method, rate, Random(seed), Shouting())
    assert bool(done.strip()) or not text.strip()


@pytest.mark.parametrize("seed", range(20))
def test_edits_change_the_share_they_are_told(seed):
    words = TEXT.split()
    random = Random(seed)
    assert len(edit(TEXT, "deletion", 0.25, random).split()) == len(words) - 3
    swapped = edit(TEXT, "swap", 0.01, random).split()
    assert sorted(swapped) == sorted(words)
    assert sum(one != other for one, other in zip(words, swapped, strict=True)) == 2
    assert len(edit(TEXT, "insertion", 0.25, random).split()) == len(words) + 3
    assert edit(TEXT, "crop", 0.5, random) in TEXT
    typed = edit(TEXT, "typos", 0.2, random).split()
    changed = [(one, other) for one, other in zip(words, typed, strict=True) if one != other]
    assert 1 <= len(changed) <= 2
    assert all(one[0] == other[0] and abs(len(one) - len(other)) <= 1 for one, other in changed)


def test_synonyms_keep_case_and_punctuation(thesaurus):
    found = {edit('Quick! "Early," he said.', "synonyms", 1, Random(seed), thesaurus) for seed in range(30)}
    assert found == {f'{word}! "Ahead of time," he said.' for word in ("Fast", "Rapid", "Swift")}
    assert edit("nothing known here", "synonyms", 1, Random(0), thesaurus) == "nothing known here"
    inserted = edit("a quick one", "insertion", 0.1, Random(0), thesaurus).split()
    assert set(inserted) - {"a", "quick", "one"} <= {"fast", "rapid", "swift"}
    with pytest.raises(ConfigError, match="need a thesaurus"):
        edit("a quick one", "synonyms", 0.1, Random(0))


def test_a_broken_thesaurus_names_the_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("quick;fast\nslow\n")
    with pytest.raises(DataError, match=r"words.txt:2: 'slow' is no headword"):
        ThesaurusFile(path)
    with pytest.raises(DataError, match="no readable thesaurus"):
        ThesaurusFile(tmp_path / "missing.txt")


def test_wordnet_files_are_read(tmp_path):
    # Two senses of "jug": the first one is meant. The marker "(a)" of an adjective is no part of the word.
    noun = "00000000 06 n 02 jug 0 water_jug 0 000 | a vessel\n"
    second = f"{len(noun):08d} 06 n 02 jug 1 jugful 0 000 | what it holds\n"
    (tmp_path / "data.noun").write_text(noun + second)
    (tmp_path / "index.noun").write_text(f"  1 licence\njug n 2 1 @ 2 1 00000000 {len(noun):08d}\n")
    (tmp_path / "data.adj").write_text("00000000 00 s 02 jug 0 dry(a) 0 000 | without water\n")
    (tmp_path / "index.adj").write_text("jug a 1 0 1 0 00000000\ndry a 1 0 1 0 00000000\n")
    for part in ("verb", "adv"):
        (tmp_path / f"data.{part}").write_text("")
        (tmp_path / f"index.{part}").write_text("")
    found = find_wordnet(tmp_path)
    assert found.synonyms("jug") == ("water jug",)
    assert found.synonyms("dry") == ("jug",)
    assert found.synonyms("the") == ()
    for line in (b"jug n 1 0 1 2 00009999\n", b"jug n 1 0 1 2 00000003\n"):
        (tmp_path / "index.noun").write_bytes(line)
        with pytest.raises(DataError, match=r"data.noun: has no line at \d+, where index.noun says 'jug' is"):
            WordNet(tmp_path).synonyms("jug")
    (tmp_path / "index.noun").write_bytes(b"caf\xe9 n 1 0 1 1 00000000\n")
    with pytest.raises(DataError, match=r"index.noun: is not UTF-8"):
        WordNet(tmp_path)
    (tmp_path / "index.noun").write_text("")
    (tmp_path / "index.verb").write_text("water v one\n")
    with pytest.raises(DataError, match=r"index.verb:1: is no line"):
        WordNet(tmp_path)
    (tmp_path / "data.adv").unlink()
    with pytest.raises(DataError, match=r"holds no data.adv"):
        WordNet(tmp_path)


def test_installed_wordnet_knows_a_car():
    try:
        found = find_wordnet()
    except DataError as error:
        pytest.skip(error.message)
    assert "automobile" in found.synonyms("car")
    assert found.synonyms("a") == ()


def test_only_train_grows_and_each_row_names_its_parent(tmp_path):
    write(tmp_path / "train.jsonl", numbered(20, place="garden"))
    write(tmp_path / "test.jsonl", [{"text": "Something else is asked here.", "label": "c1"}])
    data = read_dataset(tmp_path)
    made, report = augment(data, AugmentConfig(("deletion", "typos"), copies=2))
    assert report.made == {"deletion": 40, "typos": 40}
    assert made.splits["test"].equals(data.splits["test"])
    old, new = (table.to_pylist() for table in (made.splits["train"][:20], made.splits["train"][20:]))
    assert old == data.splits["train"].to_pylist()
    label_of = {row["text"]: row["labels"] for row in old}
    for row in new:
        metadata = json.loads(row["metadata"])
        assert metadata["place"] == "garden"
        assert metadata["augmented_by"] in ("deletion", "typos")
        assert label_of[metadata["augmented_from"]] == row["labels"]
        assert row["text"] not in label_of
    assert len(new) == report.kept.total() == len({row["text"] for row in new})
    again, second = augment(made, AugmentConfig(("deletion", "typos"), copies=2))
    assert again.splits["train"].num_rows == made.splits["train"].num_rows, "what was augmented is not augmented again"
    assert second.passed_over["augmented before"] == report.kept.total()
    assert second.dropped["stands in train"].total() == report.kept.total()


def test_a_row_that_stands_in_another_split_is_no_source(tmp_path):
    write(tmp_path / "train.jsonl", [{"text": TEXT, "label": "a"}, {"text": f"{TEXT} Twice a day.", "label": "b"}])
    write(tmp_path / "test.jsonl", [{"text": TEXT.upper(), "label": "a"}])
    made, report = augment(read_dataset(tmp_path), AugmentConfig(("swap",)))
    assert report.passed_over["stands in another split"] == 1
    (new,) = made.splits["train"].to_pylist()[2:]
    assert json.loads(new["metadata"])["augmented_from"] == f"{TEXT} Twice a day."


def test_a_column_named_parent_is_the_users_own(tmp_path):
    texts = (f"tea {n * 7919 % 997} for {n} of the guests" for n in range(20))
    rows = [{"text": text, "label": f"c{n % 2}", "parent": ["a", n]} for n, text in enumerate(texts)]
    data = read_dataset(write(tmp_path / "train.jsonl", rows))
    made, report = augment(data, AugmentConfig(("swap",)))
    assert report.kept["swap"] == 20
    assert json.loads(made.splits["train"].to_pylist()[-1]["metadata"])["parent"] == ["a", 19]
    assert split(data, SplitConfig({"train": 80, "test": 20})).splits["test"].num_rows > 0


def test_each_positive_of_an_anchor_keeps_the_new_anchor(tmp_path):
    rows = [{"anchor": "how to water tomatoes", "positive": f"answer number {n}"} for n in range(4)]
    made, report = augment(read_dataset(write(tmp_path / "p.jsonl", rows)), AugmentConfig(("swap",)))
    assert report.kept["swap"] == 4
    added = made.splits["train"].to_pylist()[4:]
    assert len({row["anchor"] for row in added}) == 1
    assert [row["positive"] for row in added] == [row["positive"] for row in rows]


def test_cleaning_between_augmenting_and_splitting_keeps_families_together(tmp_path):
    rows = [{"text": f"tea &amp; cake {n * 7919 % 997} for {n} of the guests", "label": f"c{n % 2}"} for n in range(50)]
    made, _ = augment(read_dataset(write(tmp_path / "all.jsonl", rows)), AugmentConfig(("deletion",), rate=0.4))
    cleaned, changes = clean(made)
    assert changes.texts["entities"] > 50
    component = cleaned.splits["train"].to_pylist()
    texts = {row["text"] for row in component if not row["metadata"]}
    parents = {json.loads(row["metadata"])["augmented_from"] for row in component if row["metadata"]}
    assert parents <= texts
    divided = split(cleaned, SplitConfig({"train": 60, "test": 40}))
    trained = {row["text"] for row in divided.splits["train"].to_pylist()}
    made_of = [json.loads(row["metadata"]) for row in divided.splits["train"].to_pylist() if row["metadata"]]
    assert made_of
    assert all(metadata["augmented_from"] in trained for metadata in made_of)
    assert not any(row["metadata"] for row in divided.splits["test"].to_pylist()), "people's own rows judge"


def test_the_side_of_a_scored_pair_does_not_depend_on_other_rows(tmp_path):
    rows = [
        {"sentence1": f"one {n} is {n * 7919 % 997} here", "sentence2": f"two {n} was {n * 31 % 997}", "score": n % 6}
        for n in range(12)
    ]
    found = []
    for name, part in (("all", rows), ("fewer", rows[1:])):
        made, _ = augment(read_dataset(write(tmp_path / f"{name}.jsonl", part)), AugmentConfig(("swap",)))
        table = made.splits["train"].to_pylist()[len(part) :]
        found.append({(row["sentence1"], row["sentence2"]) for row in table})
    assert found[1] < found[0]
    assert len(found[1]) == 11


def test_a_new_text_that_is_tested_is_left_out(tmp_path):
    write(tmp_path / "train.jsonl", [{"text": "plant the tomatoes", "label": "a"}, {"text": "so, so", "label": "b"}])
    write(tmp_path / "test.jsonl", [{"text": f"{' '.join(words)}!", "label": "a"} for words in PAIRS_OF_WORDS])
    made, report = augment(read_dataset(tmp_path), AugmentConfig(("deletion",), copies=20, rate=0.3))
    assert report.dropped["stands in another split"] == {"deletion": 20}
    assert report.kept.total() == 2 == made.splits["train"].num_rows - 2, "'so,' and 'so' remain"


PAIRS_OF_WORDS = (("plant", "the"), ("plant", "tomatoes"), ("the", "tomatoes"))


def test_what_a_row_becomes_does_not_depend_on_the_others(tmp_path):
    rows = numbered(12)
    one = read_dataset(write(tmp_path / "one.jsonl", rows))
    other = read_dataset(write(tmp_path / "two.jsonl", rows[::-1][:7]))
    texts = [
        {
            json.loads(row["metadata"])["augmented_from"]: row["text"]
            for row in made.splits["train"].to_pylist()
            if row["metadata"]
        }
        for made, _ in (augment(data, AugmentConfig(("swap",))) for data in (one, other))
    ]
    assert texts[0] | texts[1] == texts[0]
    assert len(texts[1]) == 7


@pytest.mark.parametrize("kind", ["labelled", "pairs", "scored"])
def test_a_later_split_keeps_copies_with_their_parent(tmp_path, kind):
    fields = {
        "labelled": lambda n: {"text": f"text {n * 7919 % 997} on {n} of the things", "label": f"c{n % 3}"},
        "pairs": lambda n: {"anchor": f"query {n * 7919 % 997} for {n} here", "positive": f"answer {n} {n * 31 % 997}"},
        "scored": lambda n: {
            "sentence1": f"one {n * 7919 % 997} is {n} here",
            "sentence2": f"other {n} of {n * 31 % 997} there",
            "score": n % 6,
        },
    }[kind]
    source = write(tmp_path / "all.jsonl", map(fields, range(60)))
    made, _ = augment(read_dataset(source), AugmentConfig(("deletion", "swap"), rate=0.3))
    write_dataset(made, tmp_path / "more", made_by="test")
    divided = split(read_dataset(tmp_path / "more" / "train.jsonl"), SplitConfig({"train": 60, "test": 40}))
    side_of = {}
    for side, table in divided.splits.items():
        for row in table.to_pylist():
            texts = {row[name] for name in ("text", "anchor", "sentence1", "sentence2") if name in row}
            metadata = json.loads(row["metadata"] or "{}")
            for text in [metadata["augmented_from"]] if "augmented_from" in metadata else texts:
                assert side_of.setdefault(text, side) == side
    assert all(table.num_rows for table in divided.splits.values())


def test_queries_of_a_beir_folder_get_relatives_with_their_judgments(garden, tmp_path):
    data = read_dataset(garden)
    made, report = augment(data, AugmentConfig(("deletion",), copies=2))
    before, after = data.retrieval, made.retrieval
    assert report.kept["deletion"] > 0
    assert after.corpus.equals(before.corpus)
    assert after.qrels["test"].equals(before.qrels["test"])
    judged = {}
    for row in after.qrels["train"].to_pylist():
        judged.setdefault(row["query_id"], set()).add((row["corpus_id"], row["grade"]))
    text_of = {row["id"]: row["text"] for row in after.queries.to_pylist()}
    added = after.queries.to_pylist()[before.queries.num_rows :]
    assert len(added) == report.kept["deletion"]
    for row in added:
        parent = row["id"].split("-deletion")[0]
        assert json.loads(row["metadata"])["augmented_from"] == text_of[parent]
        assert judged[row["id"]] == judged[parent]
    write_dataset(made, tmp_path / "more", made_by="test")
    again = read_dataset(tmp_path / "more").retrieval
    assert again.queries.equals(after.queries)
    assert again.qrels["train"].equals(after.qrels["train"])


def test_rewrites_are_asked_once_for_each_text(tmp_path):
    rows = [{"anchor": "how to water", "positive": f"answer number {n}"} for n in range(3)]
    asked = []

    def rewrite(texts, copies):
        asked.extend(texts)
        return [[f"{text} in other words {n}" for n in range(copies)] for text in texts]

    config = AugmentConfig(("paraphrase",), copies=2)
    made, report = augment(read_dataset(write(tmp_path / "p.jsonl", rows)), config, rewrites={"paraphrase": rewrite})
    assert asked == ["how to water"]
    assert report.kept["paraphrase"] == 6
    added = made.splits["train"].to_pylist()[3:]
    assert {(row["anchor"], row["positive"]) for row in added} == {
        (f"how to water in other words {copy}", f"answer number {n}") for copy in range(2) for n in range(3)
    }
    with pytest.raises(ConfigError, match="paraphrase needs a model"):
        augment(made, config)


def test_what_cannot_be_augmented_says_why(tmp_path):
    documents = read_dataset(write(tmp_path / "d.jsonl", [{"title": "a", "text": "b c d"}]))
    with pytest.raises(DataError, match="nothing to augment"):
        augment(documents, AugmentConfig())
    (tmp_path / "only").mkdir()
    tested = read_dataset(Path(write(tmp_path / "only" / "test.jsonl", numbered(3))).parent)
    with pytest.raises(DataError, match="no split train, only test"):
        augment(tested, AugmentConfig())
    with pytest.raises(ConfigError, match="no method is named 'delete'"):
        AugmentConfig(("delete",))
