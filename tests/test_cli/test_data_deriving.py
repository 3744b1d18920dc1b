"""``embedft data pairs`` and ``augment``: what they refuse before the work, what they say of bad rows."""

import json
import os
import re
from pathlib import Path

from conftest import assert_user_error

from embedft.cli.asking import Asking
from embedft.encoder import Encoder


def labelled(path, *, bad=0):
    rows = [{"text": f"question number {n} of {n * 7919 % 997}", "label": f"c{n % 2}"} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n" * bad)
    return path


def test_pairs_refuse_what_cannot_be_before_documents_are_read(cli, tmp_path):
    command = ("data", "pairs", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert_user_error(cli(*command, "--strategies", "title,magic"), "no strategy is named 'magic'", "questions")
    assert_user_error(cli(*command, "--strategies", "questions"), "not where it is", "--endpoint")
    unused = cli(*command, "--endpoint", "http://localhost:1/v1")
    assert_user_error(unused, "--endpoint does nothing without --strategies questions", "leave it out")
    assert_user_error(cli(*command), "no such file or folder")


def test_pairs_without_a_round_trip_need_no_encoder(cli, garden, tmp_path):
    command = ("data", "pairs", garden, "-o", tmp_path / "out", "--strategies", "title", "--model", "no/model")
    done = cli(*command, "--top-k", 0, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] > 10


def test_check_counts_the_tokens_of_long_texts_and_knows_the_length_of_the_model(cli, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": "ferns " * count, "label": "x"}) + "\n" for count in (9, 99, 999)))
    Encoder.load("bundled", max_length=64).save(tmp_path / "model")
    done = cli("data", "check", path, "--model", tmp_path / "model", "--json")
    assert done.returncode == 0, done.stderr
    column = json.loads(done.stdout)["splits"]["train"]["columns"]["text"]
    assert column["lengths"]["max"] > 999
    assert column["truncated"] == 2 / 3


def test_augment_refuses_what_cannot_be_before_rows_are_read(cli, tmp_path):
    command = ("data", "augment", tmp_path / "nowhere", "-o", tmp_path / "out")
    cases = [
        (("--translate", "a/b"), "--translate does nothing without --methods back-translation"),
        (("--endpoint", "http://x"), "--endpoint does nothing without --methods paraphrase"),
        (("--cache", "c"), "--cache does nothing without --methods paraphrase or back-translation"),
        (("--wordnet", "w"), "--wordnet does nothing without --methods synonyms or insertion"),
        (("--methods", "synonyms", "--wordnet", "w", "--thesaurus", "t"), "are both given"),
        (("--methods", "paraphrase"), "not where it is"),
    ]
    for options, said in cases:
        assert_user_error(cli(*command, *options), said)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    assert_user_error(cli(*command), "exists already", "--force")


def test_augment_says_what_rows_were_bad(cli, tmp_path):
    path = labelled(tmp_path / "train.jsonl", bad=2)
    done = cli("data", "augment", path, "-o", tmp_path / "more", "--json")
    assert json.loads(done.stdout)["bad_rows"] == 2
    assert len(re.findall(r"left out: .*train\.jsonl:4[12]: not valid JSON", done.stderr)) == 2


def test_answers_stand_beside_the_working_folder_where_it_is_the_output(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    asking = Asking(**dict.fromkeys(Asking.__dataclass_fields__))
    assert asking.kept_beside(Path()) == tmp_path / "work.answers"
    assert asking.kept_beside(Path("out")) == Path("out.answers")
    assert asking.kept_beside(Path(os.pardir)).name == f"{tmp_path.name}.answers"
