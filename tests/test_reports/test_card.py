"""The card of a run's model: what the hub's reader makes of it, what it tells, and that the model stays as it is."""

import json
import re
import shutil
from importlib.resources import files

import pytest
import report_cases
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from embedft.encoder import Encoder
from embedft.errors import ArtifactError
from embedft.reports.card import write_card
from embedft.reports.run import read_run_record, run_page

MODEL = files("embedft") / "models" / "modernbert-mini"
TASKS = {
    "retrieval": (report_cases.retrieval, "information-retrieval", "sentence-similarity"),
    "similarity": (report_cases.similarity, "semantic-similarity", "sentence-similarity"),
    "classification": (report_cases.classification, "text-classification", "feature-extraction"),
}


def with_model(run):
    """The run with a copy of the bundled encoder, without its card."""
    shutil.copytree(str(MODEL), run / "model")
    (run / "model" / "README.md").unlink()
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of retrieval, its card written."""
    run = with_model(report_cases.retrieval(tmp_path_factory.mktemp("runs") / "garden-run"))
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("mrr@10", "recall@100"):
        metrics["comparison"][name]["p_adjusted"] = 0.01
    (run / "metrics.json").write_text(json.dumps(metrics))
    write_card(run)
    return run


def changed(run, **settings):
    """The run with other settings of model and data: dotted with two underscores."""
    record = json.loads((run / "run.json").read_text())
    for name, value in settings.items():
        section, _, field = name.partition("__")
        record["config"][section][field] = value
    (run / "run.json").write_text(json.dumps(record))
    return run


@pytest.mark.parametrize("task", TASKS)
def test_the_hubs_reader_gives_back_what_was_written(tmp_path, task):
    make, kind, pipeline = TASKS[task]
    run = with_model(make(tmp_path / "run"))
    path = write_card(run)
    assert path == run / "model" / "README.md"
    data = ModelCard.load(path).data
    assert data.library_name == "sentence-transformers" and data.pipeline_tag == pipeline
    assert data.tags == ["sentence-transformers", "sentence-similarity", "feature-extraction", "modernbert", "embedft"]
    name, results = model_index_to_eval_results(metadata_load(path)["model-index"])
    scores = json.loads((run / "metrics.json").read_text())["metrics"]
    assert name == "run"
    assert {result.metric_type: result.metric_value for result in results} == pytest.approx(scores, abs=1e-6)
    assert {result.task_type for result in results} == {kind}
    assert {(result.dataset_name, result.dataset_split) for result in results} == {("DATA", "test")}
    assert ModelCard(str(ModelCard.load(path))).data.to_dict() == data.to_dict()


def test_licence_and_language_of_the_base_are_told_where_they_are_known(tmp_path, run):
    data = ModelCard.load(run / "model" / "README.md").data
    assert (data.license, data.language, data.base_model) == ("apache-2.0", "en", None)
    base = tmp_path / "base"
    base.mkdir()
    other = changed(with_model(report_cases.retrieval(tmp_path / "run")), model__name=str(base))
    path = write_card(other)
    unknown = ModelCard.load(path)
    assert (unknown.data.license, unknown.data.language, unknown.data.base_model) == (None, None, None)
    assert "The licence of the base is not known here" in unknown.text
    (base / "README.md").write_text("---\nlicense: mit\nlanguage: [de, en]\n---\n# A base\n")
    known = ModelCard.load(write_card(other)).data
    assert (known.license, known.language) == ("mit", ["de", "en"])


def test_names_of_the_hub_become_links_and_paths_do_not(tmp_path):
    run = with_model(report_cases.retrieval(tmp_path / "run"))
    changed(run, model__name="lightonai/modernbert-embed-large", data__path="BeIR/scifact")
    card = ModelCard.load(write_card(run))
    assert card.data.base_model == "lightonai/modernbert-embed-large" and card.data.datasets == ["BeIR/scifact"]
    changed(run, model__name="/somewhere/private/base", data__path="/somewhere/private/data.jsonl")
    card = ModelCard.load(write_card(run))
    assert card.data.base_model is None and card.data.datasets is None
    assert "private" not in str(card) and "data.jsonl" in card.text


def test_what_was_a_folder_where_it_was_trained_is_no_name_of_the_hub_elsewhere(tmp_path, monkeypatch):
    run = with_model(report_cases.retrieval(tmp_path / "run"))
    changed(run, model__name="models/base", data__path="sets/garden")
    record, metrics = (json.loads((run / name).read_text()) for name in ("run.json", "metrics.json"))
    metrics["against"]["model"] = "models/base"
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "run.json").write_text(json.dumps(record | {"local": {"model": True, "data": True}}))
    card = ModelCard.load(write_card(run))
    assert card.data.base_model is None and card.data.datasets is None
    assert "models/base" not in str(card) and "sets/garden" not in str(card)
    assert "fine-tuned by embedft from base." in card.text and "of garden, split test" in card.text
    # Nor does a folder of the name of a hub's make one local.
    (run / "run.json").write_text(json.dumps(record | {"local": {"model": False, "data": False}}))
    for folder in ("models/base", "sets/garden"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    card = ModelCard.load(write_card(run))
    assert card.data.base_model == "models/base" and card.data.datasets == ["sets/garden"]


def test_no_place_of_the_machine_is_published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = with_model(report_cases.retrieval(tmp_path / "run"))
    base, guard = "/srv/private-a/models/base", "private-b/my guard.jsonl"
    changed(run, model__name=base, evaluation__guard=guard, training__guide="../private-c/guide")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["against"]["model"] = base
    (run / "metrics.json").write_text(json.dumps(metrics))
    analysis = json.loads((run / "analysis.json").read_text())
    analysis["guard"] |= {"data": guard, "reading": f"On {guard} it lost some, and see ~/private-d/notes.txt too."}
    (run / "analysis.json").write_text(json.dumps(analysis))
    text = write_card(run).read_text(encoding="utf-8")
    assert "private-" not in text and "/srv" not in text and "models/" not in text
    assert "**Better than base: ndcg@10 rose" in text
    assert "On my guard.jsonl it lost some, and see notes.txt too." in text
    assert "| training.guide | guide |" in text and "evaluation.guard" not in text


def test_it_tells_use_scores_cost_data_and_limits(run):
    text = (run / "model" / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[:5] == ["Use", "Scores", "What it cost elsewhere", "Size against quality", "Under stress"]
    assert headings[5:] == ["Training data", "Training", "Limits"]
    assert "**Better than bundled: ndcg@10 rose from" in text
    row = next(line for line in text.splitlines() if line.startswith("| ndcg@10 |"))
    before, after, difference, chance, verdict = row.strip("| ").split(" | ")[1:]
    assert float(before) < float(after) and verdict == "better" and chance == "&lt;0.0002"
    assert re.fullmatch(r"\+0\.\d{4} \(\+0\.\d{3} \.\. \+0\.\d{3}\)", difference)
    assert "corrected together by Holm; p is shown before it." in text
    assert "It has forgotten some of what it knew." in text
    assert "192 dimensions as int8, 192 MB a million documents" in text
    assert "| train | 900 |" in text and "Leakage: 2 of split test" in text
    assert "| training.batch_size | 16 |" in text
    assert "What stands after 512 tokens" in text
    assert "encode_query" in text and "It needs no prompts" in text


def test_an_encoder_that_was_not_trained_is_not_said_to_be(tmp_path):
    run = with_model(report_cases.classification(tmp_path / "run", number=5))
    record = json.loads((run / "run.json").read_text())
    record |= {"fingerprint": record["base_fingerprint"], "leakage": [], "leakage_dropped": 7}
    (run / "run.json").write_text(json.dumps(record))
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["per_class"][4] |= {"texts": 0, "recall": 0.0, "f1": 0.0}
    metrics["macro"] = {"absent": ["class 4"], "small": [], "reading": "One class has no text."}
    (run / "metrics.json").write_text(json.dumps(metrics))
    text = write_card(run).read_text(encoding="utf-8")
    assert "One class has no text." in text and "One class has no text." in run_page(read_run_record(run))
    assert "7 rows of train that stand in another split too were left out" in text and "none was found" not in text
    assert "fine-tuned" not in text and "whose weights are as they were" in text and "was kept" not in text
    assert "before: bundled, logistic head; interval" in text
    assert "| class 4 | 0 | – | – | – |" in text


def test_no_text_of_the_data_is_published(tmp_path):
    run = with_model(report_cases.retrieval(tmp_path / "run"))
    text = write_card(run).read_text(encoding="utf-8")
    assert not [word for word in report_cases.NASTY if word.strip() and word in text]
    assert "onerror" not in text


def test_a_hostile_name_breaks_no_table_and_no_metadata(tmp_path):
    run = with_model(report_cases.classification(tmp_path / "a | b: <script>", number=5))
    card = ModelCard.load(write_card(run))
    assert card.data.model_name == "a | b: <script>"
    assert "<script>" not in card.text.replace('SentenceTransformer("a | b: <script>")', "")
    rows = [line for line in card.text.splitlines() if line.startswith("| class 2 ")]
    assert len(rows) == 1 and rows[0].count("|") == 6


def test_prompts_are_told(tmp_path):
    run = with_model(report_cases.retrieval(tmp_path / "run"))
    path = run / "model" / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": {"query": "search_query: ", "document": ""}}))
    assert "query: `search_query: `" in write_card(run).read_text(encoding="utf-8")


def test_the_model_keeps_its_fingerprint_and_opens_elsewhere(tmp_path, encoder):
    from sentence_transformers import SentenceTransformer

    run = with_model(report_cases.retrieval(tmp_path / "run", 10))
    before = Encoder.load(run / "model", precision="float32").fingerprint
    write_card(run)
    assert Encoder.load(run / "model", precision="float32").fingerprint == before == encoder.fingerprint
    model = SentenceTransformer(str(run / "model"), device="cpu")
    assert model.get_sentence_embedding_dimension() == 384


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ArtifactError, match="holds no run with a model"):
        write_card(report_cases.retrieval(tmp_path / "run"))
    with pytest.raises(ArtifactError, match="holds no run with a model"):
        write_card(report_cases.retrieval(tmp_path / "scores", run=False))
