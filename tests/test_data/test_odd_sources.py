"""Odd rows and odd sources: each is read, or refused by name; nothing ends in a traceback or is lost in silence."""

import json
import logging

import pyarrow as pa
import pytest

from embedft.data import read_retrieval
from embedft.data.dataset import read_dataset
from embedft.data.mislabelled import write_suspects
from embedft.data.store import write_dataset, write_quarantine
from embedft.errors import DataError

TEXTS = [{"text": f"text {number}", "label": "x"} for number in range(40)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PAIR = {"sentence1": "a", "sentence2": "b", "score": 1}


@pytest.mark.parametrize(
    ("row", "other", "reason"),
    [
        ({"id": "1", "title": "Fern"}, {"id": "2", "title": "Basil", "text": "It likes warmth."}, "text is missing"),
        ({**PAIR, "score": 10**400}, PAIR, "score is infinite"),
        ({"tokens": ["a"], "tags": [None]}, {"tokens": ["a"], "tags": ["O"]}, "tag is null"),
    ],
)
def test_an_odd_row_is_a_fault_of_its_line(tmp_path, row, other, reason):
    data = read_dataset(write(tmp_path / "train.jsonl", [other] * 30 + [row]))
    assert [(fault.line, fault.kind) for fault in data.faults] == [(31, reason)]


def test_titles_alone_are_no_documents(tmp_path):
    with pytest.raises(DataError, match=r"2 of 2 rows are bad.*text is missing"):
        read_dataset(write(tmp_path / "train.jsonl", [{"id": str(n), "title": "Fern"} for n in range(2)]))


def test_bad_rows_are_kept_as_json(tmp_path):
    bad = {"text": None, "label": "x", "flag": True}
    data = read_dataset(write(tmp_path / "train.jsonl", [bad, *TEXTS]))
    write_quarantine(data.faults, tmp_path / "q.jsonl")
    (row,) = map(json.loads, (tmp_path / "q.jsonl").read_text().splitlines())
    assert json.loads(row["row"]) == bad


@pytest.mark.parametrize("writer", [write_quarantine, write_suspects])
def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path, writer):
    (tmp_path / "old").write_text("older")

    def broken():
        raise RuntimeError
        yield

    with pytest.raises(RuntimeError):
        writer(broken(), tmp_path / "old")
    assert (tmp_path / "old").read_text() == "older"
    assert [file.name for file in tmp_path.iterdir()] == ["old"]


def test_numbers_that_json_lacks_are_written_as_null(tmp_path, garden):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "b", "odd": [NaN, {"x": -Infinity}], "y": 1.5}\n')
    write_dataset(read_dataset(tmp_path / "train.jsonl"), tmp_path / "out", made_by="test")
    written = (tmp_path / "out" / "train.jsonl").read_text()
    assert json.loads(written, parse_constant=pytest.fail)["metadata"] == {"odd": [None, {"x": None}], "y": 1.5}
    with (garden / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "odd", "text": "a", "x": NaN}\n')
    assert read_retrieval(garden).corpus["metadata"].to_pylist()[-1] == '{"x": null}'


def test_an_ipc_file_is_found_in_a_folder(tmp_path):
    table = pa.Table.from_pylist(TEXTS)
    with pa.OSFile(str(tmp_path / "train.ipc"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_dataset(tmp_path).splits["train"].num_rows == 40


def test_a_beir_folder_is_not_joined_with_others(garden, tmp_path):
    rows = write(tmp_path / "train.jsonl", [{"id": "1", "title": "", "text": "a"}])
    with pytest.raises(DataError, match=f"{garden}: is a BEIR folder") as caught:
        read_dataset([rows, garden])
    assert "alone" in caught.value.hint


def test_judgments_of_unknown_ids_are_bad_rows(garden):
    whole = read_dataset(garden)
    assert whole.rows["qrels/test.tsv"] == whole.retrieval.qrels["test"].num_rows == 24
    assert set(whole.bad.values()) == {0}
    with (garden / "qrels" / "test.tsv").open("a") as file:
        file.write("nobody\tnowhere\t1\nq1\tnowhere\t1\n")
    with pytest.raises(DataError, match=r"test\.tsv: 2 of 26 rows are bad.*2 x corpus-id"):
        read_dataset(garden)
    data = read_dataset(garden, max_bad=0.1)
    assert (data.rows["qrels/test.tsv"], data.bad["qrels/test.tsv"]) == (26, 2)
    assert data.manifest()["rows"] == data.sizes() == {"train": 56, "dev": 16, "test": 24}


def test_a_split_of_pairs_that_is_not_read_is_named(tmp_path, caplog):
    for name in ("train", "hard"):
        write(tmp_path / f"{name}.jsonl", [{"anchor": f"{name} q", "positive": f"{name} p"}])
    with caplog.at_level(logging.WARNING):
        assert list(read_retrieval(tmp_path).qrels) == ["train"]
    assert f"{tmp_path}: hard: not read" in caplog.text


@pytest.fixture
def saved(tmp_path):
    """Writes a folder of the library ``datasets``, out of the columns of each split and their features."""
    import datasets

    def save(columns, features):
        made = {
            name: datasets.Dataset.from_dict(rows, features=datasets.Features(features))
            for name, rows in columns.items()
        }
        datasets.DatasetDict(made).save_to_disk(str(tmp_path / "saved"))
        return tmp_path / "saved"

    return save


def test_rows_without_a_class_are_faults_under_the_name_of_their_split(saved):
    import datasets

    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    rows = {"text": [f"t{n}" for n in range(30)], "label": [-1, None, *[1] * 28]}
    folder = saved({"train": rows, "test": {"text": ["a"], "label": [0]}}, features)
    before = sorted(folder.rglob("*"))
    data = read_dataset(folder, max_bad=0.1)
    assert [str(fault) for fault in data.faults] == [
        f"{folder}/train:{line}: label is null ({{'text': 't{line - 1}', 'label': None}})" for line in (1, 2)
    ]
    assert data.splits["train"]["labels"].to_pylist() == [["yes"]] * 28
    assert data.splits["train"]["file"].to_pylist()[0] == str(folder / "train")
    assert data.bad == {"train": 2, "test": 0}
    assert sorted(folder.rglob("*")) == before, "nothing is written beside the data"


def test_tags_of_a_datasets_folder_have_their_names(saved):
    import datasets

    names = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER"]))
    features = {"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": names}
    folder = saved({"train": {"tokens": [["Anna", "smiles"]], "ner_tags": [[1, 0]]}}, features)
    assert read_dataset(folder).splits["train"]["tags"].to_pylist() == [["B-PER", "O"]]


def test_a_datasets_folder_without_rows_or_of_another_kind_is_named(saved, tmp_path):
    import datasets

    folder = saved({"train": {"text": [], "label": []}}, dict.fromkeys(("text", "label"), datasets.Value("string")))
    with pytest.raises(DataError, match="no readable datasets folder"):
        read_dataset(folder)
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match="no readable datasets folder: KeyError"):
        read_dataset(tmp_path)
