"""``embedft data`` as its user runs it."""

import json

from tests.chat_server import chat_server
from tests.conftest import assert_user_error


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
    assert_user_error(cli("data", "pairs", path, "-o", tmp_path / "o", "--strategies", "magic"), "cannot tell")


def test_augment_writes_more_of_train(cli, tmp_path):
    path = write(tmp_path / "train.jsonl", rows())
    done = cli("data", "augment", path, "-o", tmp_path / "more", "--methods", "deletion,typos", "--copies", 2, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["made"] == {"deletion": 80, "typos": 80}
    written = [json.loads(line) for line in (tmp_path / "more" / "train.jsonl").read_text().splitlines()]
    assert len(written) == summary["rows"]["train"] == 40 + sum(summary["kept"].values())
    assert {row["metadata"]["parent"] for row in written[40:]} <= {row["text"] for row in rows()}
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
        assert_user_error(cli(*command), "answered 403: paid out", "--api-key-file")
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


def test_clean_lists_doubted_labels(cli, tmp_path):
    topics = {"garden": "water the {} early in the morning", "travel": "book a train to {} for two"}
    words = (
        "roses",
        "beans",
        "Oslo",
        "Lima",
        "apples",
        "Vienna",
        "melons",
        "Cairo",
        "carrots",
        "Kyoto",
        "fields",
        "Rome",
    )
    found = [{"text": form.format(word), "label": label} for label, form in topics.items() for word in words]
    found[3]["label"] = "travel"
    path = write(tmp_path / "train.jsonl", found)
    command = ("data", "clean", path, "-o", tmp_path / "clean", "--label-errors", tmp_path / "suspects.jsonl")
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert "labels to look at" in done.stdout
    first = json.loads((tmp_path / "suspects.jsonl").read_text().splitlines()[0])
    assert (first["line"], first["given"], first["suggested"]) == (4, ["travel"], ["garden"])
    assert_user_error(cli(*command, "--json"), "is there already", "--force")
    pairs = write(tmp_path / "pairs.jsonl", [{"anchor": "a b c", "positive": "d e f"}])
    other = cli("data", "clean", pairs, "-o", tmp_path / "other", "--label-errors", tmp_path / "none.jsonl")
    assert_user_error(other, "not labelled texts", "--label-errors")
    assert not (tmp_path / "other").exists()
