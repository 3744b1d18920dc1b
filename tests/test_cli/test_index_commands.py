"""``embedft index``, ``search`` and ``evaluate --index``: what they print, and every mistake as one message."""

import io
import json
import logging
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
from conftest import GARDEN, assert_user_error

from embedft.cli.main import main
from embedft.index import Index
from embedft.index.storage import writing


@pytest.fixture
def run(capsys, monkeypatch):
    """The command in this process: a child would load torch for seconds. ``typed`` are the bytes on standard input."""
    logger = logging.getLogger("embedft")

    def call(*arguments, typed=b""):
        # It keeps the standard error of the command before.
        logger.handlers.clear()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, shown.out, shown.err)

    propagate, level = logger.propagate, logger.level
    yield call
    logger.handlers.clear()
    logger.propagate, logger.level = propagate, level


def answer(done):
    """The JSON object that a command printed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def corpus(garden_data):
    """The garden with metadata: every second document is of 2020 and in German."""
    rows = garden_data.corpus.to_pylist()
    metadata = [
        json.dumps({"year": 2019 + number % 2, "lang": ("en", "de")[number % 2]}) for number in range(len(rows))
    ]
    return garden_data.corpus.set_column(3, "metadata", pa.array(metadata, pa.string()))


@pytest.fixture(scope="module")
def built(tmp_path_factory, corpus, encoder):
    path = tmp_path_factory.mktemp("commands") / "idx"
    Index.build(corpus, encoder, path)
    return path


@pytest.fixture(scope="module")
def rough(tmp_path_factory, corpus, encoder):
    """An approximate index without words."""
    path = tmp_path_factory.mktemp("commands") / "rough"
    Index.build(corpus, encoder, path, kind="hnsw", recall=0.5, lexical=False)
    return path


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "idx")


INFO = {
    "index", "documents", "dim", "fingerprint", "model", "precision", "prompts", "kind", "factory", "recall", "point",
    "curve", "segments", "added", "deleted", "lexical", "fusion", "mapped", "bytes", "version", "created",
}  # fmt: skip


def test_build_and_info_print_the_stated_shape(run, tmp_path, encoder):
    path = tmp_path / "idx"
    made = answer(run("index", "build", GARDEN, "--model", "bundled", "-o", path, "--json"))
    told = answer(run("index", "info", path, "--json"))
    assert told.keys() == INFO
    assert {**told, "left_out": 0} == made
    assert (told["documents"], told["dim"], told["version"], told["factory"]) == (48, 384, 1, "Flat")
    assert told["fingerprint"] == encoder.fingerprint
    assert told["recall"] == {"at": 10, "value": 1.0, "ci_low": 1.0, "queries": 0}
    assert told["bytes"] == sum(file.stat().st_size for file in path.glob("versions/*/**/*") if file.is_file())
    assert "48 documents, 384 dimensions, exact search" in run("index", "info", path).stdout


def test_an_approximate_index_tells_its_recall_and_draws_its_curve(run, rough, tmp_path):
    told = answer(run("index", "info", rough, "--json"))
    assert told["recall"]["ci_low"] >= 0.5 and told["recall"]["queries"] > 10
    assert told["point"] in told["curve"]
    shown = run("index", "info", rough, "--plot", tmp_path / "curve.html").stdout
    assert f"recall@10 {told['recall']['value']:.3f}, at least {told['recall']['ci_low']:.3f}" in shown
    assert shown.count("chosen") == 1
    assert "recall@10" in (tmp_path / "curve.html").read_text()
    assert_user_error(run("index", "info", rough, "--plot", tmp_path / "curve.html"), "exists already")
    (tmp_path / "thesis.html").write_text("precious")
    done = run("index", "info", rough, "--plot", tmp_path / "thesis.html", "--force")
    assert_user_error(done, "only what embedft wrote")
    assert_user_error(run("index", "info", rough, "--plot", rough / "curve.html"), "stands in")


def test_an_exact_index_has_no_curve(run, built, tmp_path):
    assert_user_error(run("index", "info", built, "--plot", tmp_path / "curve.html"), "there is no curve")


def test_settings_that_are_none_are_refused_before_any_work(run, tmp_path):
    build = ("index", "build", GARDEN, "--model", "bundled", "-o", tmp_path / "idx")
    assert_user_error(run(*build, "--recall", "1.5"), "the recall asked for is 1.5")
    assert_user_error(run(*build, "--kind", "nonsense"), "'nonsense'", "hnsw-fp16")
    for option, value in (
        ("--memory", "nonsense"), ("--memory", "5X"), ("--memory", "9" * 400), ("--memory", "9" * 305 + "T"),
        ("--latency", "soon"), ("--latency", "0ms"), ("--latency", "9" * 400),
    ):  # fmt: skip
        done = run(*build, option, value)
        assert done.returncode == 2 and f"'{option}': '{value[:40]}" in done.stderr and "write " in done.stderr
    assert not (tmp_path / "idx").exists()


def test_a_recall_that_nothing_meets_is_one_message_and_no_index(run, tmp_path):
    build = ("index", "build", GARDEN, "--model", "bundled", "-o", tmp_path / "idx", "--kind", "hnsw")
    done = run(*build, "--recall", "0.99")
    assert_user_error(done, "40 queries are too few to show a recall of 0.99", "--kind flat")
    done = run(*build, "--recall", "0.5", "--latency", "0.00001ms")
    assert_user_error(done, "no index meets a recall@10 of 0.5", "--latency")
    (tmp_path / "q.txt").write_text("ferns\nmoss\n")
    assert_user_error(run(*build, "--queries", tmp_path / "q.txt"), "2 queries are too few")
    assert_user_error(run("index", "info", tmp_path / "idx"), "holds no index")


def test_search_prints_the_stated_shape(run, built):
    done = run("search", built, "which soil does a fern want", "-k", "2", "--hybrid", "--json")
    hits = answer(done)["hits"]
    assert [hit.keys() for hit in hits] == [{"id", "score", "title", "text", "metadata", "bm25", "fused"}] * 2
    assert hits[0]["id"] == "fern-place"
    # Without the rules of the table, between which a text goes on in the next line.
    shown = " ".join(run("search", built, "which soil does a fern want", "-k", "2").stdout.replace("│", " ").split())
    assert "fern-place" in shown and "leafy, acid forest soil" in shown


def test_passages_stand_in_the_json_where_they_are_asked_for(run, built):
    (hit,) = answer(run("search", built, "leafy soil", "-k", "1", "--passages", "--json"))["hits"]
    passage = hit["passage"]
    assert passage.keys() == {"text", "start", "end", "spans"}
    assert hit["text"][passage["start"] : passage["end"]] == passage["text"]
    assert [passage["text"][start:end] for start, end in passage["spans"]][:2] == ["leafy", "soil"]
    assert run("search", built, "leafy soil", "--passages").returncode == 2


def test_diverse_hits_are_asked_for_before_the_query_too(run, built):
    found = {
        how: [hit["id"] for hit in answer(run("search", built, *how, "ferns", "-k", "5", "--json"))["hits"]]
        for how in ((), ("--mmr",), ("--mmr-trade-off", "0.5"), ("--mmr", "--mmr-trade-off", "1"))
    }
    assert found["--mmr",] == found["--mmr-trade-off", "0.5"] != found[()]
    assert found["--mmr", "--mmr-trade-off", "1"] == found[()]
    assert run("search", built, "ferns", "--mmr-trade-off", "2").returncode == 2


def test_notes_are_left_out_where_they_are_not_wanted(run, tmp_path):
    build = ("index", "build", GARDEN, "--model", "bundled", "--kind", "hnsw", "--recall", "0.5", "-o")
    assert "no queries given" in run(*build, tmp_path / "told").stderr
    assert "no queries given" not in run("-q", *build, tmp_path / "quiet").stderr


def test_a_build_draws_its_curve(run, tmp_path):
    build = ("index", "build", GARDEN, "--model", "bundled", "-o", tmp_path / "idx")
    (tmp_path / "thesis.html").write_text("precious")
    assert_user_error(run(*build, "--plot", tmp_path / "thesis.html"), "exists already")
    assert_user_error(run(*build, "--plot", tmp_path / "idx" / "curve.html"), "stands in")
    assert not (tmp_path / "idx").exists()
    done = run(*build, "--plot", tmp_path / "none.html")
    assert done.returncode == 0 and "there is no curve" in done.stderr
    assert not (tmp_path / "none.html").exists()
    run(*build, "--kind", "hnsw", "--recall", "0.5", "--force", "--plot", tmp_path / "curve.html")
    assert "recall@10" in (tmp_path / "curve.html").read_text()


def test_documents_from_a_pipe_are_indexed_and_added(run, tmp_path):
    path = tmp_path / "idx"
    typed = b'{"text": "Ferns like shade."}\n{"text": "Roses like sun."}\n'
    assert answer(run("index", "build", "-", "--model", "bundled", "-o", path, "--json", typed=typed))["documents"] == 2
    typed = b'{"id": "moss", "text": "Moss is soft."}\n'
    assert answer(run("index", "add", path, "-", "--json", typed=typed))["added"] == 1
    hits = answer(run("search", path, "roses", "--json"))["hits"]
    assert {hit["id"] for hit in hits} == {"-:1", "-:2", "moss"}


def test_filters_hold_and_wrong_ones_are_one_message(run, built):
    found = answer(run("search", built, "ferns", "-k", "48", "--filter", "year>=2020", "--filter", "lang=de", "--json"))
    assert len(found["hits"]) == 24
    assert {hit["metadata"]["year"] for hit in found["hits"]} == {2020}
    done = run("search", built, "ferns", "-k", "40", "--filter", "year=2020")
    assert "24 hits: no more documents pass the filter" in done.stdout
    assert_user_error(run("search", built, "ferns", "--filter", "colour=red"), "'colour'", "lang")
    assert_user_error(run("search", built, "ferns", "--filter", "yaer=2020"), "did you mean year")
    assert_user_error(run("search", built, "ferns", "--filter", "year>=abc"), "'abc' is not a number")
    assert_user_error(run("search", built, "ferns", "--filter", "year"), "not of the form field=value")


def test_more_hits_than_documents_are_said_to_be_fewer(run, built):
    assert "48 hits: no more documents are in the index" in run("search", built, "ferns", "-k", "50").stdout


def test_queries_that_say_nothing_are_one_message(run, built, tmp_path):
    assert_user_error(run("search", built, " "), "the query is empty")
    assert_user_error(run("search", built, "f\udcffrn"), "the query is not UTF-8")
    for name, content, found in (
        ("none.txt", None, "no such file"),
        ("empty.txt", b"\n\n", "holds no query"),
        ("binary.txt", b"\xff\xfe\xff", "is not UTF-8"),
        ("rows.jsonl", b'{"text": "ferns"}\n{"body": "moss"}\n', "rows.jsonl:2: text is missing"),
        ("rows.ndjson", b'{"text": "ferns"}\n{"body": "moss"}\n', "rows.ndjson:2: text is missing"),
        ("rows.csv", b"text,id\nferns,1\n,2\n", "rows.csv:3: text is missing"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert_user_error(run("search", built, "--queries", tmp_path / name), found)
    assert run("search", built, "ferns", "--queries", tmp_path / "empty.txt").returncode == 2


@pytest.mark.parametrize("typed", [b"ferns\nuse of mint\n\nmoss\n", b"ferns\r\nuse of mint\r\n", b"ferns\nuse of mint"])
def test_queries_from_a_pipe_are_answered_until_an_empty_line(run, built, typed):
    done = run("search", built, "-k", "1", "--json", typed=typed)
    assert done.returncode == 0 and done.stderr == ""
    assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == ["ferns", "use of mint"]


def test_a_pipe_of_anything_else_ends_in_one_message(run, built):
    assert run("search", built, typed=b"").stdout == ""
    assert_user_error(run("search", built, typed=b"f\xffrns\n"), "the query is not UTF-8")
    assert_user_error(run("search", built, "--filter", "colour=red", typed=b"ferns\nmoss\n"), "'colour'")


def test_hybrid_search_needs_words(run, rough):
    for done in (
        run("search", rough, "ferns", "--hybrid"),
        run("index", "fuse", rough, "--data", GARDEN, "--split", "train"),
        run("evaluate", "bundled", "--data", GARDEN, "--index", rough, "--hybrid"),
    ):
        assert_user_error(done, "keeps no words", "--no-lexical")


def test_documents_are_added_replaced_deleted_and_compacted(run, copy, tmp_path):
    (tmp_path / "more.jsonl").write_text(
        '{"id": "fern-place", "text": "Anywhere."}\n{"id": "rose", "text": "Roses like sun."}\n'
    )
    change = answer(run("index", "add", copy, tmp_path / "more.jsonl", "--json"))
    told = {"index": str(copy), "documents": 49, "added": 1, "replaced": 1, "deleted": 0, "missing": [], "left_out": 0}
    assert change == told
    (tmp_path / "ids.txt").write_text("mint-place\n\nnothing\n")
    done = run("index", "delete", copy, "rose", "--from", tmp_path / "ids.txt")
    assert (done.returncode, done.stdout) == (0, f"{copy}: 2 deleted, 47 documents\n")
    assert done.stderr == "not there: 1 ids (nothing)\n"
    assert "added since: 2 documents in 1 segments; deleted: 3" in run("index", "info", copy).stdout
    assert answer(run("index", "compact", copy, "--json"))["documents"] == 47
    assert answer(run("index", "verify", copy, "--json"))["sound"] is True


def test_info_says_when_compacting_is_worth_it(run, copy, corpus):
    ids = corpus["id"].to_pylist()
    run("index", "delete", copy, *ids[:9])
    assert "index compact" not in run("index", "info", copy).stdout
    run("index", "delete", copy, ids[9])
    assert f"deleted: 10; 'embedft index compact {copy}' makes one segment of all" in run("index", "info", copy).stdout


def test_ids_that_are_all_unknown_are_one_message(run, copy, tmp_path):
    assert_user_error(run("index", "delete", copy, *"abcdef"), "holds none of the 6 ids to delete (a, b, c, d, e, ...)")
    (tmp_path / "ids.txt").write_text("\n")
    assert_user_error(run("index", "delete", copy, "--from", tmp_path / "ids.txt"), "holds no id")
    assert_user_error(run("index", "delete", copy, "--from", tmp_path / "none.txt"), "no such file")
    assert run("index", "delete", copy).returncode == 2
    assert answer(run("index", "info", copy, "--json"))["version"] == 1


def test_what_is_no_index_is_one_message(run, tmp_path):
    for path in (tmp_path / "nothing", GARDEN):
        for command in ("info", "verify", "versions", "rollback", "compact"):
            assert_user_error(run("index", command, path), f"{path}: holds no index")
        assert_user_error(run("index", "delete", path, "a"), str(path))
        assert_user_error(run("index", "add", path, GARDEN), "holds no index")
        assert_user_error(run("search", path, "ferns"), "holds no index")
    assert not (tmp_path / "nothing").exists()


def test_a_second_writer_is_one_message_and_readers_go_on(run, copy):
    with writing(copy):
        assert_user_error(run("index", "delete", copy, "fern-place"), "another process writes to it")
        assert_user_error(run("index", "compact", copy), "another process writes to it")
        assert run("search", copy, "ferns", "--json").returncode == 0


def test_another_model_is_refused_until_the_index_is_given_to_it(run, copy, other_model):
    model = ("--model", other_model)
    for done in (
        run("search", copy, "ferns", *model),
        run("index", "add", copy, GARDEN, *model),
        run("index", "verify", copy, *model),
        run("evaluate", other_model, "--data", GARDEN, "--index", copy),
    ):
        assert_user_error(
            done, "bundled", str(other_model), "cannot be compared", f"embedft index migrate {copy} --model"
        )
    assert_user_error(run("index", "migrate", copy, "--model", "bundled"), "is an index of bundled already")
    assert "--sample goes with --map" in run("index", "migrate", copy, *model, "--sample", "500").stderr
    done = run("index", "migrate", copy, *model, "--map")
    assert_user_error(done, "cannot be fitted on 48 documents", "without --map")
    change = answer(run("index", "migrate", copy, *model, "--json"))
    assert change["documents"] == 48 and "mapped" not in change
    assert answer(run("search", copy, "ferns", "--json"))["hits"][0]["id"] == "fern-place"
    assert_user_error(run("search", copy, "ferns", "--model", "bundled"), "cannot be compared")
    assert answer(run("index", "info", copy, "--json"))["model"] == str(other_model)


def test_versions_are_listed_and_an_older_one_is_made_current(run, copy):
    assert_user_error(run("index", "rollback", copy), "has no version older than the current one, 1")
    run("index", "delete", copy, "fern-place")
    listed = answer(run("index", "versions", copy, "--json"))["versions"]
    assert [(version["number"], version["documents"], version["current"]) for version in listed] == [
        (1, 48, False), (2, 47, True),
    ]  # fmt: skip
    assert run("index", "versions", copy).stdout.count("current") == 1
    assert answer(run("index", "rollback", copy, "--json")) == {"index": str(copy), "version": 1, "documents": 48}
    assert_user_error(run("index", "rollback", copy, "--to", "9"), "has no version 9", "1, 2")
    assert answer(run("index", "rollback", copy, "--to", "2", "--json"))["documents"] == 47


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"[]", b'{"version": "000001"}'])
def test_a_damaged_pointer_is_told_by_each_command_and_mended_by_rollback(run, copy, content):
    run("index", "delete", copy, "fern-place")
    pointer = copy / "CURRENT"
    pointer.unlink() if content is None else pointer.write_bytes(content)
    assert_user_error(run("index", "info", copy), "holds no index" if content is None else "CURRENT: is damaged")
    assert_user_error(run("index", "rollback", copy), str(copy))
    listed = run("index", "versions", copy)
    assert listed.returncode == 0 and "none is current" in listed.stderr and "rollback" in listed.stderr
    listed = answer(run("index", "versions", copy, "--json"))["versions"]
    assert [version["current"] for version in listed] == [False, False]
    checked = run("index", "verify", copy)
    assert checked.returncode == 1 and f"{copy}: CURRENT: " in checked.stdout and "rollback --to" in checked.stderr
    assert answer(run("index", "rollback", copy, "--to", "2", "--json"))["documents"] == 47
    assert answer(run("index", "info", copy, "--json"))["version"] == 2


def test_a_pointer_to_a_version_that_is_gone_is_told(run, copy):
    run("index", "delete", copy, "fern-place")
    shutil.rmtree(copy / "versions" / "000002")
    assert_user_error(run("index", "info", copy), "000002/manifest.json: is missing")
    assert "none is current" in run("index", "versions", copy).stderr
    assert answer(run("index", "rollback", copy, "--json"))["version"] == 1


def test_verify_names_a_damaged_file_and_ends_with_1(run, copy):
    sound = answer(run("index", "verify", copy, "--json"))
    assert sound["problems"] == [] and sound["canary"] > 0.98
    assert "sound, 48 documents" in run("index", "verify", copy, "--no-model").stdout
    (copy / "versions" / "000001" / "base" / "fields.arrow").write_bytes(b"")
    done = run("index", "verify", copy)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "versions/000001/base/fields.arrow: is damaged: 0 bytes where" in done.stdout
    done = run("index", "verify", copy, "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["sound"] is False
    (copy / "versions" / "000001" / "manifest.json").write_text("{")
    assert "unknown" in run("index", "versions", copy).stdout


def test_fuse_tunes_a_weight_that_info_tells(run, copy):
    fusion = answer(run("index", "fuse", copy, "--data", GARDEN, "--split", "train", "--json"))["fusion"]
    assert fusion.keys() == {"method", "weight", "k", "queries"}
    assert answer(run("index", "info", copy, "--json"))["fusion"] == fusion
    assert f"vectors count {fusion['weight']:g}" in run("index", "info", copy).stdout
    assert_user_error(run("index", "fuse", copy, "--data", GARDEN), "16 queries are too few")
    assert_user_error(run("index", "fuse", copy, "--data", GARDEN, "--split", "no"), "has no split 'no'")


def test_evaluate_compares_an_index_with_exact_search(run, rough, built, tmp_path):
    evaluate = ("evaluate", "bundled", "--data", GARDEN, "--metric", "ndcg@10")
    plain = answer(run(*evaluate, "--json"))
    exact = answer(run(*evaluate, "--index", built, "--json"))
    # The index was built in fp32, the encoder may compute in bf16 now.
    assert exact["metrics"]["ndcg@10"] == exact["against"]["metrics"]["ndcg@10"]
    assert exact["metrics"]["ndcg@10"] == pytest.approx(plain["metrics"]["ndcg@10"], abs=0.05)
    found = answer(run(*evaluate, "--index", rough, "-o", tmp_path / "out", "--json"))
    assert found["against"]["metrics"] == pytest.approx(exact["metrics"], abs=1e-6)
    assert found["comparison"]["ndcg@10"]["difference"] <= 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found
    # Hybrid search is compared with hybrid search: of an exact index nothing is lost.
    hybrid = answer(run(*evaluate, "--index", built, "--hybrid", "--json"))
    assert hybrid["against"]["model"].endswith("(hybrid, exact)")
    assert hybrid["metrics"] == hybrid["against"]["metrics"]
    for options in (("--index", rough, "--against", "bundled"), ("--hybrid",)):
        assert run(*evaluate, *options).returncode == 2


def test_an_index_of_other_documents_is_not_evaluated(run, tmp_path, encoder, corpus):
    Index.build(corpus.slice(0, 20), encoder, tmp_path / "few")
    done = run("evaluate", "bundled", "--data", GARDEN, "--index", tmp_path / "few")
    assert_user_error(done, "holds 20 documents", "has 48 documents")
    strangers = corpus.set_column(0, "id", pa.array([f"x{number}" for number in range(48)]))
    Index.build(strangers, encoder, tmp_path / "strangers")
    done = run("evaluate", "bundled", "--data", GARDEN, "--index", tmp_path / "strangers")
    assert_user_error(done, "which is not there", "the corpus that the qrels judge")


def test_numbers_of_a_csv_file_can_be_compared(run, tmp_path):
    (tmp_path / "c.csv").write_text("id,text,year\na,ferns grow,2019\nb,moss grows,2020\nc,mint smells,2021\n")
    run("index", "build", tmp_path / "c.csv", "--model", "bundled", "-o", tmp_path / "idx")
    found = answer(run("search", tmp_path / "idx", "plants", "--filter", "year>=2020", "--json"))
    assert {hit["id"] for hit in found["hits"]} == {"b", "c"}
    (tmp_path / "twice.csv").write_text("id,text\na,ferns\na,moss\n")
    done = run("index", "build", tmp_path / "twice.csv", "--model", "bundled", "-o", tmp_path / "twice")
    assert_user_error(done, "the document id 'a' stands twice")


def test_a_folder_of_files_is_indexed_and_what_was_left_out_is_counted(run, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(24):
        (docs / f"{number:02}.md").write_text(f"# Plant {number}\n\nIt wants shade.\n")
    (docs / "fern.html").write_text("<title>Ferns</title><body><p>Ferns are spread by spores.</p>")
    (docs / "empty.txt").write_text("")
    done = run("index", "build", docs, "--model", "bundled", "-o", tmp_path / "idx", "--json")
    assert (answer(done)["documents"], answer(done)["left_out"]) == (25, 1)
    assert "left out: " in done.stderr and "empty.txt" in done.stderr
    assert answer(run("search", tmp_path / "idx", "spores", "-k", "1", "--json"))["hits"][0]["id"] == "fern.html"


def test_a_folder_with_files_that_are_none_says_which_share_would_do(run, tmp_path):
    for name, content in {"a.py": b"x = 1\n", "b.py": bytes(9), "c.py": bytes(9), "__init__.py": b""}.items():
        (tmp_path / name).write_bytes(content)
    command = ("index", "build", tmp_path, "--model", "bundled", "-o", tmp_path / "idx", "--json")
    assert_user_error(run(*command), "2 of 4 files are bad", "--max-bad 50%", "b.py: binary")
    found = answer(run(*command, "--max-bad", "50%"))
    assert (found["documents"], found["left_out"]) == (1, 3)
