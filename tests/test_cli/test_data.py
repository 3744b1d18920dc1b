"""``embedft data`` as its user runs it."""

import json

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
