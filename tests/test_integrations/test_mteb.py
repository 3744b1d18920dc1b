"""mteb, given our encoder, our index and our data, reports our figures."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from embedft import Encoder, Index, evaluate_retrieval
from embedft.data import read_dataset, read_retrieval
from embedft.errors import ConfigError, DataError
from embedft.evaluation import evaluate_similarity, evaluate_through, ranking_of_run, score_ranking

mteb = pytest.importorskip("mteb")

from embedft.integrations.mteb import MtebEncoder, MtebIndex, RetrievalTask, SimilarityTask  # noqa: E402
from embedft.integrations.mteb.models import set_apart  # noqa: E402

METRICS = [f"{kind}@{k}" for kind in ("ndcg", "map", "recall", "precision", "mrr") for k in (1, 3, 10, 100)]
# mteb rounds all but MRR to five decimals.
ROUNDING = 5e-6
SCORED = "".join(
    f"{left}\t{right}\t{score}\n"
    for left, right, score in [
        ("sentence1", "sentence2", "score"),
        ("Water the roses in the evening.", "Roses are watered at dusk.", "4.5"),
        ("Prune the hedge in March.", "The hedge is cut in spring.", "4"),
        ("Slugs eat young lettuce.", "Snails damage salad.", "3.5"),
        ("Compost needs air.", "The train was late.", "0"),
        ("Tulips bloom in April.", "Daffodils bloom in March.", "2.5"),
        ("The soil is too wet.", "The soil is too dry.", "1.5"),
    ]
)


def run(model, task, **settings):
    results = mteb.evaluate(model, task, cache=None, show_progress_bar=False, **settings)
    return results.task_results[0].scores[task.split][0]


def assert_figures(scores, metrics):
    for name, value in metrics.items():
        kind, k = name.split("@")
        tolerance = 1e-9 if kind == "mrr" else ROUNDING + 1e-9
        assert scores[f"{kind}_at_{k}"] == pytest.approx(value, abs=tolerance), name


def duplicated(data):
    """The data with each document twice, under an id before and one after its own, and judged alike: all scores tie."""
    corpus = pa.concat_tables(
        data.corpus.set_column(0, "id", pa.array([f"{prefix}{name}" for name in data.corpus["id"].to_pylist()]))
        for prefix in ("z", "a")
    )
    qrels = data.split("test")
    qrels = qrels.set_column(1, "corpus_id", pa.array([f"z{name}" for name in qrels["corpus_id"].to_pylist()]))
    return type(data)(data.path, corpus, data.queries, {"test": qrels})


def test_an_encoder_has_our_figures_in_mteb(encoder, garden_data, tmp_path):
    ours = evaluate_retrieval(encoder, garden_data, metrics=METRICS)
    task = RetrievalTask(garden_data)
    scores = run(MtebEncoder(encoder), task, prediction_folder=tmp_path)
    assert_figures(scores, ours.metrics)
    assert scores["main_score"] == scores["ndcg_at_10"]
    # And to the last digit: what mteb retrieved, judged by us.
    found = json.loads((tmp_path / task.prediction_file_name).read_text())["default"]["test"]
    per_query = score_ranking(ranking_of_run(found), garden_data.split("test"), METRICS)
    for name, values in per_query.items():
        assert values.mean() == pytest.approx(ours.metrics[name], abs=1e-12)


@pytest.mark.parametrize("hybrid", [False, True])
def test_an_index_has_its_figures_in_mteb(encoder, garden_data, tmp_path, hybrid):
    index = Index.build(garden_data.corpus, encoder, tmp_path / "index", kind="flat")
    # mteb searches once, as deep as its largest cut-off; where fused scores tie, a search cut earlier may find others.
    names = [name for name in METRICS if not hybrid or name.endswith("@100")]
    expected = evaluate_through(index, garden_data, metrics=names, hybrid=hybrid)
    task = RetrievalTask(garden_data)
    assert_figures(run(MtebIndex(index, hybrid=hybrid), task), expected.metrics)
    assert_figures(run(MtebIndex(encoder, hybrid=hybrid, kind="flat"), task), expected.metrics)


def test_an_index_keeps_our_order_of_ties_in_mteb(encoder, garden_data):
    data = duplicated(garden_data)
    ours = evaluate_retrieval(encoder, data, metrics=METRICS)
    assert_figures(run(MtebIndex(encoder, kind="flat"), RetrievalTask(data)), ours.metrics)
    assert ours.metrics["mrr@10"] < 0.6  # each relevant document comes after its copy


def test_queries_and_documents_have_their_own_prompts(encoder):
    from mteb.types import PromptType

    from embedft import Encoder

    prompted = Encoder.load("bundled", precision="float32", prompts={"query": "ask: ", "document": "tell: "})
    model = MtebEncoder(prompted)
    texts = ["when to prune roses", "how to water tomatoes"]
    batches = [{"text": texts[:1]}, {"text": texts[1:]}]
    np.testing.assert_array_equal(model.encode(batches, prompt_type=PromptType.query), prompted.encode_queries(texts))
    for kind in (PromptType.document, None):
        np.testing.assert_array_equal(model.encode(batches, prompt_type=kind), prompted.encode_documents(texts))
    assert model.mteb_model_meta.use_instructions
    assert not MtebEncoder(encoder).mteb_model_meta.use_instructions


def test_a_document_is_encoded_as_everywhere_else_white_space_and_title_included(encoder):
    model = MtebEncoder(encoder)
    batch = {"text": ["as mteb", "joins them"], "title": ["Roses", ""], "body": [" Prune them. ", " Slugs\n"]}
    expected = encoder.encode_documents(["Roses  Prune them.", " Slugs\n"])
    np.testing.assert_array_equal(model.encode([batch]), expected)


def test_scored_pairs_have_our_correlations_in_mteb(encoder, tmp_path):
    file = tmp_path / "test.tsv"
    file.write_text(SCORED)
    ours = evaluate_similarity(encoder, read_dataset(file).splits["test"], data="pairs")
    scores = run(MtebEncoder(encoder), SimilarityTask(file))
    for name in ("spearman", "pearson"):
        assert scores[name] == pytest.approx(ours.metrics[name], abs=1e-9)
        assert scores[f"cosine_{name}"] == pytest.approx(ours.metrics[name], abs=1e-5)


def test_a_stored_result_is_not_taken_for_that_of_other_data_cut_offs_or_models(encoder, garden, tmp_path):
    """mteb keeps results by name; what changes the figures must change a name."""
    cache = mteb.ResultCache(tmp_path / "cache")
    shorter = Encoder.load("bundled", precision="float32", max_length=16)

    def scores(encoder, **options):
        task = RetrievalTask(garden, **options)
        results = mteb.evaluate(MtebEncoder(encoder), task, cache=cache, show_progress_bar=False)
        return results.task_results[0].scores["test"][0]

    def main_score(encoder):
        return scores(encoder)["main_score"]

    first = main_score(encoder)
    assert main_score(encoder) == first
    assert "ndcg_at_7" in scores(encoder, k_values=(7,)) and "ndcg_at_100" not in scores(encoder, k_values=(7,))
    assert main_score(shorter) != first
    qrels = garden / "qrels" / "test.tsv"
    lines = qrels.read_text().splitlines(keepends=True)
    qrels.write_text("".join(lines[: len(lines) // 2]))
    assert main_score(encoder) != first


def test_each_way_of_searching_has_a_place_of_its_own_among_stored_results(encoder):
    models = [
        MtebEncoder(encoder), MtebIndex(encoder), MtebIndex(encoder, hybrid=True), MtebIndex(encoder, kind="hnsw"),
        MtebIndex(Index.build(["one text", "another text"], encoder, kind="flat")),
    ]  # fmt: skip
    assert len({model.mteb_model_meta.experiment_name for model in models}) == len(models)


def test_a_task_can_be_run_again_after_mteb_dropped_its_data(encoder, garden_data):
    task = RetrievalTask(garden_data)
    assert run(MtebEncoder(encoder), task)["ndcg_at_10"] == run(MtebEncoder(encoder), task)["ndcg_at_10"]
    assert not task.data_loaded


def test_grades_and_cut_offs_reach_mteb(garden_data):
    task = RetrievalTask(garden_data, k_values=(7,))
    task.load_data()
    given = task.dataset["default"]["test"]["relevant_docs"]
    judged = garden_data.judged_queries("test")[0]
    expected = {}
    for row in garden_data.split("test").to_pylist():
        if row["query_id"] in judged:
            expected.setdefault(row["query_id"], {})[row["corpus_id"]] = row["grade"]
    assert given == expected
    assert task.k_values == (1, 7, 10)
    assert task.metadata.name.endswith("-k1-7-10")
    assert "-k" not in RetrievalTask(garden_data).metadata.name


def test_an_index_of_other_documents_is_refused(encoder, garden_data):
    index = Index.build(["one text", "another text"], encoder, kind="flat")
    with pytest.raises(DataError, match="holds 2 documents, the task"):
        run(MtebIndex(index), RetrievalTask(garden_data))
    renamed = garden_data.corpus.set_column(0, "id", pa.array([f"x{n}" for n in range(garden_data.corpus.num_rows)]))
    with pytest.raises(DataError, match="not among the task's"):
        run(MtebIndex(Index.build(renamed, encoder, kind="flat")), RetrievalTask(garden_data))


def test_settings_that_have_no_meaning_are_refused(encoder, garden_data, garden):
    index = Index.build(["one text", "another text"], encoder, kind="flat")
    with pytest.raises(ConfigError, match="kind cannot be set"):
        MtebIndex(index, kind="flat")
    with pytest.raises(ConfigError, match="organisation/model"):
        MtebEncoder(encoder, name="model")
    with pytest.raises(ConfigError, match="precision is 'int8'"):
        MtebEncoder(encoder).encode([{"text": ["a"]}], precision="int8")
    with pytest.raises(ConfigError, match="no index does"):
        MtebIndex(index).search({}, top_k=3, top_ranked={})
    with pytest.raises(DataError, match="no split 'nowhere'"):
        RetrievalTask(garden_data, split="nowhere")
    with pytest.raises(DataError, match="expected scored pairs"):
        SimilarityTask(garden)


@pytest.mark.parametrize(
    "name",
    ["Retrieval", "InstructionRetrieval", "Reranking", "PairClassification", "Classification", "BitextMining", "STS"],
)
def test_mtebs_own_tasks_of_every_kind_run(encoder, name):
    from mteb.mocks import mock_tasks

    task = getattr(mock_tasks, f"Mock{name}" if name.startswith("Instruction") else f"Mock{name}Task")()
    results = mteb.evaluate(MtebEncoder(encoder), task, cache=None, show_progress_bar=False)
    score = results.task_results[0].get_score()
    assert 0 < score <= 1
    if name.endswith("Retrieval"):
        results = mteb.evaluate(MtebIndex(encoder, kind="flat"), task, cache=None, show_progress_bar=False)
        assert results.task_results[0].get_score() == score


def test_scores_set_apart_keep_their_order_and_move_by_single_steps():
    rng = np.random.default_rng(0)
    scores = -np.sort(-np.round(rng.uniform(-1, 1, 500), 2).astype(np.float32))
    apart = set_apart(scores)
    assert (np.diff(apart) < 0).all()
    assert np.abs(apart - scores).max() < 1e-6
    distinct = -np.sort(-rng.uniform(-1, 1, 500).astype(np.float32))
    np.testing.assert_array_equal(set_apart(distinct), distinct)


def test_embedft_does_not_import_mteb_and_says_how_to_install_it():
    code = """
import sys
import embedft, embedft.integrations, embedft.evaluation
assert "mteb" not in sys.modules
sys.modules["mteb"] = None  # as if it were not installed
from embedft.errors import ConfigError
try:
    import embedft.integrations.mteb
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'embedft[mteb]'" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cranfield", "liveqa_med"])
def test_public_judgments_give_our_figures_in_mteb(shared, name):
    encoder = Encoder.load("bundled", precision="float32", max_length=64)  # each text is encoded three times
    data = read_retrieval(shared / "retrieval" / name)
    ours = evaluate_retrieval(encoder, data, metrics=METRICS)
    assert_figures(run(MtebEncoder(encoder), RetrievalTask(data)), ours.metrics)
    assert_figures(run(MtebIndex(encoder, kind="flat"), RetrievalTask(data)), ours.metrics)


@pytest.mark.slow
def test_public_pairs_give_our_correlations_in_mteb(shared, encoder):
    folder = shared / "sts" / "stsb_en"
    ours = evaluate_similarity(encoder, read_dataset(folder).splits["test"], data="stsb_en")
    scores = run(MtebEncoder(encoder), SimilarityTask(folder))
    for name in ("spearman", "pearson"):
        assert scores[name] == pytest.approx(ours.metrics[name], abs=1e-9)
        assert scores[f"cosine_{name}"] == pytest.approx(ours.metrics[name], abs=1e-5)
