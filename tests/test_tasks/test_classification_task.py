"""What classification refuses before a step is trained, and what it tells."""

import logging

import pytest
from labelled_texts import FORMS, rows, write

from embedft.config import DataConfig
from embedft.errors import DataError
from embedft.tasks.classification import TASK, Classification


def prepared(path, **more):
    config = DataConfig(path=path, **more)
    return TASK.prepare(TASK.read(config), config, 0).data


@pytest.fixture
def heard(caplog):
    """The warnings of embedft, whatever the command line has set up before."""
    logger = logging.getLogger("embedft")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_dev_split_is_held_out_with_its_share_of_each_class(tmp_path):
    data = prepared(write(tmp_path / "data"), dev_share=0.25)
    counts = {name: sorted(row[0] for row in table["labels"].to_pylist()) for name, table in data.splits.items()}
    assert {len(counts["train"]), len(counts["dev"])} == {36, 12}
    assert {counts["dev"].count(topic) for topic in FORMS} == {4}
    assert TASK.size(data, "dev") == "12 texts of 3 classes"
    assert set(TASK.dev_view(data, 0, 0).splits) == {"train", "dev"}


def test_training_rows_have_numbers_or_lists_of_0_and_1(tmp_path):
    one = TASK.training_rows(prepared(write(tmp_path / "one"))).to_pylist()
    assert {row["label"] for row in one} == {0, 1, 2}
    many = TASK.training_rows(prepared(write(tmp_path / "many", several=True))).to_pylist()
    assert {len(row["label"]) for row in many} == {4}
    assert {value for row in many for value in row["label"]} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ([{"text": f"text {n}", "label": "same"} for n in range(5)], "all 5 texts of train have one label, 'same'"),
        ([*rows()[:30], {"text": "what is this", "label": "odd"}], "1 classes of train have one text each: 'odd'"),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(tmp_path, train, said):
    with pytest.raises(DataError, match=said) as caught:
        prepared(write(tmp_path / "data", train=train))
    assert caught.value.hint


def test_other_data_is_refused(garden):
    with pytest.raises(DataError, match="holds retrieval; classification is trained on labelled texts") as caught:
        TASK.read(DataConfig(path=garden))
    assert "--task retrieval" in caught.value.hint


def test_leakage_is_reported_dropped_or_refused(tmp_path):
    every = rows()
    path = write(tmp_path / "data", train=every[:48], test=every[45:])
    assert sum(leak.count for leak in TASK.leakage(TASK.read(DataConfig(path=path)))) >= 3
    with pytest.raises(DataError, match="the training split leaks"):
        prepared(path, leakage="fail")
    data = prepared(path, leakage="drop")
    assert not set(data.splits["train"]["text"].to_pylist()) & set(data.splits["test"]["text"].to_pylist())


@pytest.mark.parametrize("dev", [{}, {"dev": rows()[60:]}])
def test_a_train_of_which_leakage_leaves_nothing_is_refused(tmp_path, dev):
    path = write(tmp_path / "data", train=rows()[:48], test=rows(), **dev)
    with pytest.raises(DataError, match="all 48 training rows stand in another split too"):
        prepared(path, leakage="drop")


def test_classes_that_are_left_with_one_text_are_told(tmp_path, heard):
    words = "apple river stone cloud paper tiger lemon chair phone grass snake brick piano onion candle mirror"
    train = [{"text": word, "label": f"k{number // 2}"} for number, word in enumerate(words.split(" "))]
    data = prepared(write(tmp_path / "data", train=train))
    assert data.splits["dev"].num_rows == 2
    assert "2 classes are left with one text in train" in heard.text


def test_leakage_is_searched_once_and_after_rows_were_dropped(tmp_path, monkeypatch):
    every = rows()
    path = write(tmp_path / "data", train=every[:48], test=every[45:], dev=every[40:45])
    searched = []
    find = Classification.leakage
    monkeypatch.setattr(Classification, "leakage", lambda self, data: searched.append(data) or find(self, data))
    for leakage in ("report", "drop"):
        config = DataConfig(path=path, leakage=leakage)
        found = TASK.prepare(TASK.read(config), config, 0)
        assert found.dropped == 48 - found.data.splits["train"].num_rows
        assert (found.dropped == 0) == any(leak.severe for leak in found.leakage)
    assert len(searched) == 2


def test_labels_of_the_test_alone_are_told_and_judged_as_out_of_scope(tmp_path, encoder, heard):
    other = [{"text": f"how much is {n} and {n}", "label": "oos"} for n in range(5)]
    data = prepared(write(tmp_path / "data", oos_test=other))
    assert "split oos_test has 1 labels that are not in train ('oos'): its 5 texts" in heard.text
    found = TASK.evaluate(encoder, data, "test", ["accuracy", "macro_f1"], show_progress=False)
    assert set(found.metrics) == {"accuracy", "macro_f1", "oos_recall", "oos_auroc"}
    assert found.count == 24 and found.metrics["accuracy"] > 0.8
    assert found.as_dict()["out_of_scope"]["texts"] == 5
    assert found.metrics["oos_auroc"] > 0.8
