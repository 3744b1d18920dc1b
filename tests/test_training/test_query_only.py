"""Query-only tuning: better queries, the same documents; what it is compared with, and what does not go with it."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import GARDEN
from sentence_transformers import SentenceTransformer

from embedft import Encoder, Index, RunConfig
from embedft.errors import ConfigError
from embedft.training.job import open_base
from embedft.training.losses.masks import column_ids, false_negative_mask
from embedft.training.losses.ranking import multiple_negatives_ranking
from embedft.training.queries import stored
from embedft.training.queries.adapter import train_adapter
from embedft.training.queries.query_only import Frozen, check_query_only, check_trainable, fit_queries
from embedft.training.queries.stored import Candidates, StoredVectors, ranking_loss
from embedft.training.run import open_job
from embedft.training.rundir import RunDirectory

TRAINING = {"freeze": ["documents"], "batch_size": 16, "max_steps": 12, "eval_every": 4}
TEXTS = ["how to water a fern", "a fern wants constantly moist roots"]


def config(side="adapter", model="bundled", **training):
    values = {
        "data": {"path": str(GARDEN)},
        "model": {"precision": "float32", "name": str(model)},
        "training": {**TRAINING, "query_side": side, **training},
        "evaluation": {"report": False},
    }
    return RunConfig.model_validate(values)


def opened(settings, folder):
    """The job of a run that has begun."""
    directory = RunDirectory(folder)
    folder.mkdir(parents=True, exist_ok=True)
    job = open_job(settings, directory, show_progress=False)
    if not directory.record.exists():
        directory.start(settings.model_dump(mode="json"), {}, force=False)
    return job


def trained(settings, folder):
    fit_queries(opened(settings, folder))
    return json.loads((folder / "run.json").read_text())


@pytest.fixture(scope="module", params=["adapter", "tower"])
def run(request, tmp_path_factory):
    """A run, and what its record says; both sides learn something in their first steps."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    rate = {"adapter": 1e-3, "tower": 2e-4}[request.param]
    return folder, trained(config(request.param, learning_rate=rate), folder)


def test_the_best_step_on_dev_is_kept_with_the_documents_of_the_base(run, encoder):
    folder, record = run
    assert record["status"] == "trained"
    assert record["best"]["step"] in (4, 8, 12)
    assert record["best"]["value"] > record["best"]["base"]
    tuned = Encoder.load(folder / "model", precision="float32")
    assert np.array_equal(tuned.encode_documents(TEXTS), encoder.encode_documents(TEXTS))
    assert not np.array_equal(tuned.encode_queries(TEXTS), encoder.encode_queries(TEXTS))
    assert tuned.document_fingerprint == encoder.fingerprint


def test_the_kept_encoder_scores_on_dev_what_the_record_says(run, garden_data):
    folder, record = run
    job = opened(config(), folder.parent / "again")
    tuned = Encoder.load(folder / "model", precision="float32")
    for encoder, value in ((tuned, record["best"]["value"]), (job.base, record["best"]["base"])):
        found = job.task.evaluate(encoder, Frozen(job).dev, "dev", ["ndcg@10"], show_progress=False)
        assert found.metrics["ndcg@10"] == pytest.approx(value, abs=1e-6)


def test_the_log_has_every_judged_step(run):
    lines = [json.loads(line) for line in (run[0] / "train_log.jsonl").read_text().splitlines()]
    judged = {line["step"]: line["eval_ndcg@10"] for line in lines if "eval_ndcg@10" in line}
    assert list(judged) == [4, 8, 12]
    assert max(judged.values()) == run[1]["best"]["value"]


def test_sentence_transformers_gives_the_same_vectors(run):
    ours = Encoder.load(run[0] / "model", precision="float32")
    theirs = SentenceTransformer(str(run[0] / "model"), device="cpu")
    assert np.abs(ours.encode_queries(TEXTS) - theirs.encode_query(TEXTS)).max() < 1e-5
    assert np.abs(ours.encode_documents(TEXTS) - theirs.encode_document(TEXTS)).max() < 1e-5


def test_an_index_of_the_base_is_searched_by_the_tuned_encoder(run, encoder, garden_data, tmp_path):
    Index.build(garden_data.corpus, encoder, tmp_path / "idx")
    assert Index.open(tmp_path / "idx", str(run[0] / "model")).search(["fern"], k=1)[0]


@pytest.mark.parametrize("side", ["adapter", pytest.param("tower", marks=pytest.mark.slow)])
def test_equal_seeds_give_equal_weights_and_a_killed_run_goes_on(side, tmp_path, monkeypatch):
    settings = config(side, learning_rate=2e-4, max_steps=4, eval_every=2)
    trained(settings, tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole" / "checkpoints")
    # Cut off at the end of training: vectors and checkpoints are there, the model is not.
    monkeypatch.setattr("embedft.training.queries.query_only._keep", lambda *_: None)
    fit_queries(opened(settings, tmp_path / "cut"))
    kept = (tmp_path / "cut" / "checkpoints" / "documents.npy").stat().st_mtime_ns
    for newest in (tmp_path / "cut" / "checkpoints").glob("checkpoint-4"):
        shutil.rmtree(newest)
    monkeypatch.undo()
    trained(settings, tmp_path / "cut")
    assert (tmp_path / "cut" / "checkpoints" / "documents.npy").stat().st_mtime_ns == kept
    first, second = (Encoder.load(tmp_path / name / "model").fingerprint for name in ("whole", "cut"))
    assert first == second


def test_where_nothing_is_better_the_base_is_kept(tmp_path, encoder):
    record = trained(config("adapter", learning_rate=1.0, max_steps=2, eval_every=1), tmp_path / "run")
    assert record["best"]["step"] == 0
    assert record["best"]["value"] == record["best"]["base"]
    assert Encoder.load(tmp_path / "run" / "model").fingerprint == encoder.fingerprint


def test_vectors_cut_to_their_first_dimensions_are_tuned_there(tmp_path):
    settings = config("adapter", learning_rate=2e-4)
    settings.model.truncate_dim = 64
    record = trained(settings, tmp_path / "run")
    assert record["best"]["step"] > 0
    base, tuned = open_base(settings), Encoder.load(tmp_path / "run" / "model", precision="float32")
    assert tuned.dim == 64
    assert np.array_equal(tuned.encode_documents(TEXTS), base.encode_documents(TEXTS))
    job = opened(settings, tmp_path / "again")
    value = Frozen(job).dev_value(tuned.encode_queries(Frozen(job).dev_queries))
    assert value == pytest.approx(record["best"]["value"], abs=1e-6)


def test_a_tuned_encoder_can_be_tuned_further(run, tmp_path, encoder):
    settings = config("adapter", model=run[0] / "model", learning_rate=2e-4)
    check_trainable(settings, open_base(settings))
    record = trained(settings, tmp_path / "run")
    assert record["best"]["base"] == pytest.approx(run[1]["best"]["value"], abs=1e-6)
    assert Encoder.load(tmp_path / "run" / "model").document_fingerprint == encoder.fingerprint


def test_what_trackers_keep_of_a_tower_lies_beside_its_run(tmp_path, monkeypatch):
    def made(*_, **__):
        raise RuntimeError(os.environ["TENSORBOARD_LOGGING_DIR"])

    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    monkeypatch.setattr("embedft.training.queries.query_only.make_trainer", made)
    with pytest.raises(RuntimeError, match=str(tmp_path / "run" / "trackers" / "tensorboard")):
        fit_queries(opened(config("tower", report_to=["tensorboard"]), tmp_path / "run"))


ROWS = pa.table(
    {
        "anchor": ["a", "b", "c", "a", "d"],
        "positive": ["p", "q", "a", "r", "p"],
        "negatives": [["n"], [], ["m", "n"], [], []],
    }
)
DOCUMENT_TEXTS = ["p", "q", "a", "r", "n", "m"]


def stored_documents(dim=8):
    vectors = np.random.default_rng(0).standard_normal((len(DOCUMENT_TEXTS), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return StoredVectors(vectors, column_ids(pa.chunked_array([DOCUMENT_TEXTS])))


def test_known_positives_and_the_anchor_itself_are_no_negatives():
    documents = stored_documents()
    vectors, targets, mask = Candidates(ROWS, documents, device="cpu", seed=0).of(np.array([0, 2, 4]))
    assert torch.equal(vectors, torch.from_numpy(documents.vectors))
    assert targets.tolist() == [0, 2, 0]
    masked = [{DOCUMENT_TEXTS[place] for place in row.nonzero().flatten().tolist()} for row in mask]
    # Of "a": its other positive "r", and the document that says "a".
    assert masked == [{"a", "r"}, set(), set()]


def test_the_loss_is_mnrl_where_the_batch_holds_all_documents():
    rows = pa.table({"anchor": ["a", "b"], "positive": ["p", "q"], "negatives": [["n", "m"], []]})
    texts = ["p", "q", "n", "m"]
    vectors = stored_documents().vectors[:4]
    documents = StoredVectors(vectors, column_ids(pa.chunked_array([texts])))
    queries = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    ours = ranking_loss(queries, *Candidates(rows, documents, device="cpu", seed=0).of(np.array([0, 1])), scale=20.0)
    ids = [torch.from_numpy(column_ids(pa.chunked_array([part]))) for part in (["a", "b"], ["p", "q"], ["n", "m"])]
    expected = multiple_negatives_ranking(queries, torch.from_numpy(vectors), false_negative_mask(*ids), scale=20.0)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-6)


def test_of_too_many_documents_a_batch_sees_its_own_and_some_drawn_ones(monkeypatch):
    monkeypatch.setattr(stored, "MOST_CANDIDATES", 2)
    documents = stored_documents()
    candidates = Candidates(ROWS, documents, device="cpu", seed=0)
    rows = np.array([2, 0])
    vectors, targets, mask = candidates.of(rows)
    assert torch.equal(vectors[targets], torch.from_numpy(documents.of(["a", "p"])))
    for text in ("m", "n"):
        assert (vectors == torch.from_numpy(documents.of([text]))).all(1).any()
    assert not mask[torch.arange(2), targets].any()
    assert torch.equal(candidates.of(rows)[0], vectors)


def test_stored_vectors_are_computed_once_and_found_by_their_texts(encoder, tmp_path, monkeypatch):
    texts = [*TEXTS, TEXTS[0], "another"]
    made = StoredVectors.write(tmp_path / "v.npy", encoder, texts, "")
    assert np.array_equal(made.of(["another", TEXTS[0]]), encoder.encode(["another", TEXTS[0]])) or np.allclose(
        made.of(["another", TEXTS[0]]), encoder.encode(["another", TEXTS[0]]), atol=1e-6
    )
    monkeypatch.setattr(Encoder, "encode_to", None)
    assert np.array_equal(StoredVectors.write(tmp_path / "v.npy", encoder, texts, "").vectors, made.vectors)


def test_an_adapter_turns_queries_towards_their_documents(tmp_path):
    # Queries are documents turned by one rotation: a linear layer can undo it.
    draw = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(64, 8, generator=draw), dim=1)
    turn = torch.linalg.qr(torch.eye(8) + 0.5 * torch.randn(8, 8, generator=draw))[0]
    names = [f"d{number}" for number in range(64)]
    rows = pa.table({"anchor": [f"q{n}" for n in range(64)], "positive": names, "negatives": [[]] * 64})
    rows = rows.set_column(2, "negatives", pa.array([[]] * 64, pa.list_(pa.string())))
    documents = StoredVectors(vectors.numpy(), column_ids(pa.chunked_array([names])))
    queries = vectors @ turn.T

    def score(weight):
        return float(((queries @ weight.T @ vectors.T).argmax(1) == torch.arange(64)).float().mean())

    settings = config(max_steps=None, epochs=60, learning_rate=0.03, eval_every=10, patience=99).training
    before = score(torch.eye(8))
    best = train_adapter(
        queries, Candidates(rows, documents, device="cpu", seed=0), score, settings=settings, scale=20.0,
        base_value=before, metric="accuracy", log=tmp_path / "log.jsonl", advance=lambda *_, **__: None,
    )  # fmt: skip
    assert before < 0.5 < 0.95 < best.value == score(best.weight)


@pytest.mark.parametrize(
    ("sections", "field"),
    [
        ({"task": "similarity"}, "task"),
        ({"training": {"freeze": ["documents", "embeddings"]}}, "training.freeze"),
        ({"training": {"loss": "triplet"}}, "training.loss"),
        ({"training": {"loss_options": {"symmetric": True}}}, "training.loss_options"),
        ({"training": {"matryoshka": [64]}}, "training.matryoshka"),
        ({"training": {"gradient_cache": True}}, "training.gradient_cache"),
        ({"training": {"anchor": {}}}, "training.anchor"),
        ({"training": {"lora": {}}}, "training.lora"),
        ({"training": {"hard_negatives": {"refresh_every": 10}}}, "refresh_every"),
        ({"training": {"layer_decay": 0.9}}, "training.layer_decay"),
        ({"training": {"ema": 0.9}}, "training.ema"),
        ({"training": {"max_length": 16}}, "training.max_length"),
        ({"data": {"also": [{"path": "more.jsonl"}]}}, "data.also"),
    ],
)
def test_what_does_not_go_with_frozen_documents_is_refused_by_its_name(sections, field):
    values = config().model_dump(mode="json")
    for name, fields in sections.items():
        values[name] = {**values[name], **fields} if isinstance(fields, dict) else fields
    with pytest.raises(ConfigError, match=field):
        check_query_only(RunConfig.model_validate(values))


def test_what_goes_with_frozen_documents_is_let_through():
    check_query_only(config("adapter", loss="mnrl", loss_options={"scale": 30.0}, hard_negatives={}))
    check_query_only(config("tower", layer_decay=0.9, ema=0.99, gradient_accumulation=2, max_length=16))


def test_an_encoder_with_a_query_side_is_not_trained_as_one(run):
    settings = config(model=run[0] / "model", freeze=[])
    with pytest.raises(ConfigError, match="freeze documents"):
        check_trainable(settings, open_base(settings))
