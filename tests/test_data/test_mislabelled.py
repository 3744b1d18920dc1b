"""Label errors: planted ones are found and ranked first, on real vectors."""

import json
import random

import pytest

from embedft.data.dataset import read_dataset
from embedft.data.mislabelled import mislabelled, write_suspects
from embedft.errors import DataError

TOPICS = {
    "garden": ("water the {} early", "plant {} after the frost", "when are {} ripe", "the soil that {} need"),
    "travel": ("a train to {}", "hotels near {}", "how far is {} by car", "the weather in {} in May"),
    "money": ("transfer {} to my account", "a fee of {} was charged", "exchange {} into euros", "my card lost {}"),
}
WORDS = {
    "garden": ("tomatoes", "beans", "roses", "apples", "carrots", "melons"),
    "travel": ("Lisbon", "Oslo", "Vienna", "Cairo", "Lima", "Kyoto"),
    "money": ("ten dollars", "a hundred pounds", "fifty francs", "my salary", "two yen", "the rent"),
}


def rows():
    return [(topic, form.format(word)) for topic, forms in TOPICS.items() for form in forms for word in WORDS[topic]]


def write(path, found):
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for label, text in found))
    return read_dataset(path)


def test_planted_errors_come_first(tmp_path, encoder):
    wrong = random.Random(1).sample(range(72), 5)
    found = rows()
    for number in wrong:
        label, text = found[number]
        found[number] = (next(topic for topic in TOPICS if topic != label), text)
    data = write(tmp_path / "train.jsonl", [*found, ("alone", "a label that stands once")])
    vectors = encoder.encode_documents(data.splits["train"]["text"].to_pylist())
    suspects = mislabelled(data, vectors)
    assert sorted(suspect.line - 1 for suspect in suspects[:5]) == sorted(wrong)
    right = {text: label for label, text in rows()}
    assert all(suspect.suggested == (right[suspect.text],) for suspect in suspects[:5])
    assert [suspect.rank for suspect in suspects] == list(range(1, len(suspects) + 1))
    confidences = [suspect.confidence for suspect in suspects]
    assert confidences == sorted(confidences)
    write_suspects(suspects, tmp_path / "suspects.jsonl")
    first = json.loads((tmp_path / "suspects.jsonl").read_text().splitlines()[0])
    assert (first["rank"], first["line"]) == (1, suspects[0].line)


def test_rows_of_several_labels(tmp_path, encoder):
    path = tmp_path / "train.jsonl"
    found = [{"text": text, "labels": [label, "short" if len(text) < 22 else "long"]} for label, text in rows()]
    found[7]["labels"][0] = "money"
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    data = read_dataset(path)
    suspects = mislabelled(data, encoder.encode_documents(data.splits["train"]["text"].to_pylist()))
    assert 8 in [suspect.line for suspect in suspects[:5]]
    assert all(isinstance(suspect.given, tuple) and len(suspect.given) == 2 for suspect in suspects)


def test_what_has_no_labels_to_doubt(tmp_path, encoder):
    one = write(tmp_path / "one.jsonl", [("a", "first"), ("a", "second"), ("b", "third")])
    with pytest.raises(DataError, match="fewer than two labels"):
        mislabelled(one, encoder.encode_documents(["first", "second", "third"]))
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"anchor": "a b", "positive": "c d"}\n')
    with pytest.raises(DataError, match="holds pairs, not labelled texts"):
        mislabelled(read_dataset(path), encoder.encode_documents(["a b"]))


def test_classes_smaller_than_the_folds(tmp_path, encoder):
    texts = [text for _, text in rows()][:32]
    data = write(tmp_path / "train.jsonl", [(f"class {n // 4}", text) for n, text in enumerate(texts)])
    assert all(suspect.rank for suspect in mislabelled(data, encoder.encode_documents(texts)))
