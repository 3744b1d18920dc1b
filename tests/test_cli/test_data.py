"""``embedft data`` as its user runs it."""

import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from embedft.cli.dataset import Reading, Rows
from embedft.config import DataConfig
from embedft.errors import ConfigError, DataError
from tests.chat_server import chat_server
from tests.conftest import assert_user_error, heed_interrupts


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows(count=40):
    return [{"text": f"question number {n} about {n * 7919 % 997} things", "label": f"c{n % 2}"} for n in range(count)]


def test_check_reports_as_json_page_and_quarantine(cli, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write(data / "train.jsonl", [*rows(), {"text": None, "label": "c1"}])
    write(data / "test.jsonl", rows(3))
    done = cli("data", "check", data, "--json", "-o", tmp_path / "r.html", "--quarantine", tmp_path / "q.jsonl")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {name: split["rows"] for name, split in report["splits"].items()} == {"test": 3, "train": 40}
    assert [(f["kind"], f["count"]) for f in report["faults"] if f["left_out"]] == [("text is null", 1)]
    assert [(leak["kind"], leak["count"]) for leak in report["leakage"]] == [("exact", 3)]
    page = (tmp_path / "r.html").read_text()
    assert "text is null" in page
    assert "<svg" in page
    assert "http" not in page.replace("http-equiv", "")
    (row,) = map(json.loads, (tmp_path / "q.jsonl").read_text().splitlines())
    assert (row["line"], row["reason"]) == (41, "text is null")


def test_too_many_bad_rows_fail_after_the_report(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", [*rows(9), {"text": "", "label": "x"}])
    done = cli("data", "check", path)
    assert done.returncode == 2
    assert "text is empty" in done.stdout
    assert "1 of 10 rows are bad" in done.stderr
    assert "-o OUT --max-bad 10%" in done.stderr
    assert "leakage was not looked for" in done.stdout
    assert cli("data", "check", path, "--max-bad", "10%").returncode == 0


def test_clean_and_split_write_what_is_read_again(cli, tmp_path):
    path = write(
        tmp_path / "all.jsonl", [*rows(), rows(1)[0], {"text": "caf&eacute;&nbsp;&amp; <b>tea</b>", "label": "c1"}]
    )
    done = cli("data", "clean", path, "-o", tmp_path / "clean", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["rows"] == {"train": 41}
    assert summary["left_out"] == {"exact duplicate": 1}
    assert (tmp_path / "clean" / "quarantine" / "rows.jsonl").is_file()
    done = cli(
        "data", "split", tmp_path / "clean", "-o", tmp_path / "split", "--ratios", "50,50", "--threshold", 1, "--json"
    )
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["rows"].values()) == 41
    assert_user_error(cli("data", "split", tmp_path / "clean", "-o", tmp_path / "split"), "split")


def test_pairs_come_out_of_documents(cli, garden, tmp_path):
    done = cli("data", "pairs", garden, "-o", tmp_path / "pairs", "--strategies", "title,first", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    made, kept = report["made"], report["kept"]
    assert report["pairs"] == sum(kept.values()) > 10
    assert sum(made.values()) == sum(kept.values()) + sum(sum(counts.values()) for counts in report["dropped"].values())
    lines = (tmp_path / "pairs" / "train.jsonl").read_text().splitlines()
    assert all({"anchor", "positive", "metadata"} == set(json.loads(line)) for line in lines)


def test_mistakes_are_one_message(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", [{"left": "a", "right": "b"}])
    assert_user_error(cli("data", "split", path, "-o", tmp_path / "o"), "cannot tell what the columns left, right hold")
    assert_user_error(cli("data", "clean", tmp_path / "none.csv", "-o", tmp_path / "o"), "no such file")
    assert_user_error(
        cli("data", "pairs", path, "-o", tmp_path / "o", "--strategies", "magic"), "no strategy is named 'magic'"
    )


def test_augment_writes_more_of_train(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", rows())
    done = cli("data", "augment", path, "-o", tmp_path / "more", "--methods", "deletion,typos", "--copies", 2, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["made"] == {"deletion": 80, "typos": 80}
    written = [json.loads(line) for line in (tmp_path / "more" / "train.jsonl").read_text().splitlines()]
    assert len(written) == summary["rows"]["train"] == 40 + sum(summary["kept"].values())
    assert {row["metadata"]["augmented_from"] for row in written[40:]} <= {row["text"] for row in rows()}
    again = cli("data", "augment", path, "-o", tmp_path / "more")
    assert_user_error(again, "exists already", "--force")
    shown = cli("data", "augment", path, "-o", tmp_path / "more", "--force")
    assert "question number" in shown.stdout, shown.stderr


def test_augment_asks_a_language_model_and_goes_on_after_a_break(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", rows(12))
    (tmp_path / "key").write_text("secret-7\n")
    count = iter(range(100))

    def answer(prompt):
        return (403, "paid out") if next(count) == 5 else f"said {prompt[-30:]}"

    options = ("--methods", "paraphrase", "--endpoint-model", "m", "--api-key-file", tmp_path / "key", "--workers", 1)
    with chat_server(answer, "secret-7") as server:
        command = ("data", "augment", path, "-o", tmp_path / "more", *options, "--endpoint", server.url)
        assert_user_error(cli(*command), "answered 403: paid out", "EMBEDFT_API_KEY")
        assert not (tmp_path / "more").exists()
        done = cli(*command, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["kept"] == {"paraphrase": 12}
        assert len(server.requests) == 13, "what was answered before the fault is not asked again"
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.name != "key"]
    assert not any("secret-7" in file.read_text() for file in files)


def test_augment_says_what_it_lacks(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", rows(3))
    out = ("data", "augment", path, "-o", tmp_path / "more", "--methods")
    assert_user_error(cli(*out, "paraphrase"), "not where it is", "--endpoint")
    assert_user_error(cli(*out, "back-translation"), "needs a model", "--translate")
    assert_user_error(cli(*out, "back-translation", "--translate", "a/b"), "one way alone", "--translate-back")
    assert_user_error(cli(*out, "synonyms", "--wordnet", tmp_path), "holds no index.noun", "folder")
    assert_user_error(cli(*out, "shuffle"), "no method is named 'shuffle'", "deletion")


def test_pairs_of_written_questions(cli, tmp_path):
    texts = ["Water tomatoes early in the morning, at the roots.", "Basil dies at the first frost, so keep it inside."]
    path = write(tmp_path / "docs.jsonl", [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts)])
    answer = {"Water": "when to water tomatoes\nwhere to water a tomato", "Basil": "does basil survive frost\n???"}
    with chat_server(lambda prompt: answer[prompt.split("Document:\n")[1].split()[0]]) as server:
        options = ("--strategies", "questions", "--endpoint", server.url, "--endpoint-model", "m", "--questions", 2)
        done = cli("data", "pairs", path, "-o", tmp_path / "pairs", *options, "--top-k", 1, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kept"] == {"questions": 3}
    written = [json.loads(line) for line in (tmp_path / "pairs" / "train.jsonl").read_text().splitlines()]
    assert {row["anchor"]: row["positive"] for row in written} == {
        "when to water tomatoes": texts[0],
        "where to water a tomato": texts[0],
        "does basil survive frost": texts[1],
    }


def test_bad_rows_of_retrieval_data_are_counted_by_file(cli, garden):
    with (garden / "queries.jsonl").open("a") as file:
        file.write('{"_id": "none"}\n' * 12)
    done = cli("data", "check", garden)
    assert "queries.jsonl: 12 of " in done.stderr, "a small share of all rows, not of this file"
    assert done.returncode == 2


def test_split_tells_of_bad_rows_and_of_its_folder_before_the_work(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", [*rows(), {"text": None, "label": "c1"}])
    done = cli("data", "split", path, "-o", tmp_path / "split", "--json")
    assert json.loads(done.stdout)["bad_rows"] == 1
    assert "train.jsonl:41: text is null" in done.stderr
    missing = cli("data", "split", tmp_path / "none.jsonl", "-o", tmp_path / "split")
    assert_user_error(missing, "exists already", "--force")


def test_columns_and_scales_that_change_nothing_are_refused(tmp_path, garden):
    path = write(tmp_path / "train.jsonl", [{"left": row["text"], "right": row["label"]} for row in rows()])
    columns = "text=left,label=right"
    with pytest.raises(DataError, match="is a BEIR folder"):
        Reading((str(garden),), columns, None, 0.05).read()
    with pytest.raises(ConfigError, match="holds labelled texts; --scale would"):
        Reading((str(path),), columns, "0,5", 0.05).read()


def test_options_about_rows_are_settings_of_the_data():
    given = DataConfig(path="d", **Rows("anchor=q,negative=n,negative=m", "0,5", 0.2).settings())
    assert given == DataConfig(path="d", columns={"anchor": "q", "negative": ["n", "m"]}, scale=(0, 5), max_bad=0.2)
    assert DataConfig(path="d", **Rows(None, None, 0.05).settings()) == DataConfig(path="d")


def test_columns_are_those_of_the_other_data_where_it_has_them(tmp_path, garden):
    path = write(tmp_path / "train.jsonl", [{"left": row["text"], "right": row["label"]} for row in rows()])
    usual = write(tmp_path / "usual.jsonl", rows())
    reading = Reading((str(path),), "text=left,label=right", None, 0.05)
    texts = reading.read().splits["train"]["text"].to_pylist()
    for other in (path, usual):
        assert reading.read_other(str(other)).splits["train"]["text"].to_pylist() == texts
    assert reading.read_other(str(garden)).kind == "retrieval"


def test_clean_lists_doubted_labels(cli, tmp_path):
    topics = {"garden": "water the {} early in the morning", "travel": "book a train to {} for two"}
    words = ["roses", "beans", "Oslo", "Lima", "apples", "Vienna", "melons", "Cairo", "carrots", "Kyoto"]
    found = [{"text": form.format(word), "label": label} for label, form in topics.items() for word in words]
    found[3]["label"] = "travel"
    path = write(tmp_path / "train.jsonl", found)
    command = ("data", "clean", path, "-o", tmp_path / "clean", "--label-errors", tmp_path / "suspects.jsonl")
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "labels to look at" in done.stdout
    first = json.loads((tmp_path / "suspects.jsonl").read_text().splitlines()[0])
    assert (first["line"], first["given"], first["suggested"]) == (4, ["travel"], ["garden"])
    again = cli(*command[:4], tmp_path / "other", *command[5:])
    assert_user_error(again, "exists already", "--force")
    pairs = write(tmp_path / "pairs.jsonl", [{"anchor": "a b c", "positive": "d e f"}])
    other = cli("data", "clean", pairs, "-o", tmp_path / "other", "--label-errors", tmp_path / "none.jsonl")
    assert_user_error(other, "not labelled texts", "leave label errors out")
    assert not (tmp_path / "other").exists()


def test_outputs_replace_nothing_that_embedft_did_not_write(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", rows())
    before = path.read_text()
    for options in (("--quarantine", path), ("-o", path)):
        assert_user_error(cli("data", "check", path, *options, "--force"), "the command names too", "another path")
    both = ("-o", tmp_path / "same.html", "--quarantine", tmp_path / "same.html")
    assert_user_error(cli("data", "check", path, *both), "the command names too", "another path")
    precious = tmp_path / "precious.txt"
    precious.write_text("notes")
    assert_user_error(cli("data", "check", path, "-o", precious, "--force"), "only what embedft wrote", "another path")
    clean = ("data", "clean", path, "-o", tmp_path / "clean")
    assert_user_error(cli(*clean, "--label-errors", tmp_path / "clean" / "e.jsonl"), "stands in", "another path")
    assert_user_error(cli(*clean, "--label-errors", tmp_path / "no" / "e.jsonl"), "does not exist", "another path")
    assert not (tmp_path / "clean").exists()
    assert path.read_text() == before
    assert precious.read_text() == "notes"


def test_force_spares_folders_that_were_worked_on(cli, tmp_path, garden):
    path = write(tmp_path / "train.jsonl", rows())
    command = ("data", "clean", path, "-o", tmp_path / "clean", "--force")
    assert cli(*command).returncode == 0
    assert cli(*command).returncode == 0, "embedft's own is replaced"
    (tmp_path / "clean" / "notes.txt").write_text("mine")
    assert_user_error(cli(*command), "did not write", "remove")
    (tmp_path / "clean" / "notes.txt").unlink()
    with (tmp_path / "clean" / "train.jsonl").open("a") as file:
        file.write('{"text": "by hand", "label": "c1"}\n')
    assert_user_error(cli(*command), "did not write", "remove")
    assert_user_error(cli("data", "clean", garden, "-o", garden, "--force"), "did not write", "remove")
    assert (garden / "corpus.jsonl").is_file()


def test_cleaning_writes_only_what_is_read_again(cli, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write(data / "train.jsonl", [{"text": row["text"] * 3, "label": [row["label"], "x"]} for row in rows()] + rows(1))
    write(data / "test.jsonl", rows(3))
    done = cli("data", "clean", data, "-o", tmp_path / "clean", "--min-chars", 60, "--json")
    assert json.loads(done.stdout)["rows"] == {"test": 0, "train": 40}, done.stderr
    assert not (tmp_path / "clean" / "test.jsonl").exists()
    assert cli("data", "check", tmp_path / "clean").returncode == 0
    kept = cli("data", "clean", data, "-o", tmp_path / "all", "--json")
    assert kept.returncode == 0, kept.stderr
    labels = [json.loads(line)["labels"] for line in (tmp_path / "all" / "train.jsonl").read_text().splitlines()]
    assert all(isinstance(row, list) for row in labels), "one form a file"


def test_what_does_not_fit_the_kind_of_data_is_refused(cli, tmp_path, garden):
    scored = write(
        tmp_path / "s.jsonl", [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": n % 6} for n in range(9)]
    )
    cases = [
        ("clean", garden, ("--min-chars", 10), "min_chars cannot be cleaned"),
        ("clean", garden, ("--conflicts", "drop", "--mend-labels"), "conflicts, mend_labels cannot"),
        ("clean", scored, ("--mend-labels",), "holds scored pairs; mend_labels"),
        ("split", scored, ("--shots", 2), "shots are counted by label"),
    ]
    for command, path, options, said in cases:
        done = cli("data", command, path, "-o", tmp_path / "out", *options)
        assert_user_error(done, said, "leave")


def test_split_by_time_and_by_group(cli, tmp_path):
    found = [{**row, "day": str(n), "when": f"2026-01-{n + 1:02d}", "tags": [n % 5]} for n, row in enumerate(rows(30))]
    path = tmp_path / "all.csv"
    path.write_text(
        "text,label,day,when\n" + "".join(f"{r['text']},{r['label']},{r['day']},{r['when']}\n" for r in found)
    )
    for column in ("day", "when"):
        done = cli("data", "split", path, "-o", tmp_path / column, "--time", column, "--ratios", "80,20")
        assert done.returncode == 0, done.stderr
        later = [json.loads(line) for line in (tmp_path / column / "test.jsonl").read_text().splitlines()]
        assert sorted(int(row["metadata"]["day"]) for row in later) == list(range(24, 30)), "numbers, not texts"
    path.write_text(path.read_text().replace("2026-01-05", "5/1/2026"))
    assert_user_error(cli("data", "split", path, "-o", tmp_path / "x", "--time", "when"), "'5/1/2026'", "2026-01-31")
    path.write_text(path.read_text().replace("5/1/2026", ""))
    assert_user_error(cli("data", "split", path, "-o", tmp_path / "x", "--time", "when"), "1 of 30 rows", "every row")
    tagged = write(tmp_path / "tagged.jsonl", found)
    done = cli("data", "split", tagged, "-o", tmp_path / "tags", "--group", "tags")
    assert done.returncode == 0, done.stderr
    side_of = {}
    for side in ("train", "dev", "test"):
        for line in (tmp_path / "tags" / f"{side}.jsonl").read_text().splitlines():
            tag = json.loads(line)["metadata"]["tags"][0]
            assert side_of.setdefault(tag, side) == side
    assert set(side_of.values()) == {"train", "dev", "test"}, "five groups for three sides"
    assert cli("data", "split", tagged, "-o", tmp_path / "l", "--group", "label", "--ratios", "50,50").returncode == 0
    labels = [{json.loads(line)["label"] for line in file.open()} for file in (tmp_path / "l").glob("*.jsonl")]
    assert sorted(map(sorted, labels)) == [["c0"], ["c1"]]


def test_files_of_one_name_are_counted_each(cli, tmp_path):
    for name, bad in (("a", 10), ("b", 0)):
        (tmp_path / name).mkdir()
        with write(tmp_path / name / "train.jsonl", rows(40)).open("a") as file:
            file.write("no json\n" * bad)
    found = [tmp_path / "a" / "train.jsonl", tmp_path / "b" / "train.jsonl"]
    for order in (found, found[::-1]):
        report = json.loads(cli("data", "check", *order, "--json", "--max-bad", "50%").stdout)
        assert (report["rows"], report["bad_rows"]) == (90, 10)
        assert cli("data", "check", *order, "--max-bad", "15%").returncode == 2, "a fifth of one file is bad"
    assert_user_error(cli("data", "check", found[0], found[0]), "is named twice", "once")


def test_a_file_in_the_working_folder_is_counted_once(tmp_path, monkeypatch, cli):
    with write(tmp_path / "train.jsonl", rows(97)).open("a") as file:
        file.write("no json\n" * 3)
    monkeypatch.chdir(tmp_path)
    done = cli("data", "check", "train.jsonl")
    assert done.returncode == 0, "3 of 100 are fewer than 5 %"
    assert_user_error(cli("data", "clean", "train.jsonl", "./train.jsonl", "-o", "out"), "is named twice", "once")


def test_ctrl_c_ends_a_request_that_hangs(tmp_path):
    path = write(tmp_path / "train.jsonl", rows(5))
    hang = threading.Event()
    with chat_server(lambda _: str(hang.wait(60))) as server:
        options = (
            "--methods",
            "paraphrase",
            "--endpoint",
            server.url,
            "--endpoint-model",
            "m",
            "-o",
            str(tmp_path / "x"),
        )
        command = [sys.executable, "-m", "embedft", "data", "augment", str(path), *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
        while not server.requests:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=15)
        finally:
            hang.set()
            process.kill()
    assert process.returncode == 130
    assert said.strip().endswith("interrupted")
    assert not (tmp_path / "x").exists()
