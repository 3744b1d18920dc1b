"""Folders as a run and ``embedft evaluate -o`` leave them, of any size, with texts that try to break a page."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedft.config import RunConfig

NASTY = (
    "</script><img src=x onerror=alert(1)>",
    "<script>document.title = 'broken'</script>",
    "\" onmouseover='alert(2)' &lt; &amp; ]]> --> {{x}} ${y}",
    "right to left \u202e txet eht fo tser eht \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "emoji \U0001f469\u200d\U0001f52c\U0001f1eb\U0001f1f7 and zero\u200bwidth",
    "longword" * 60,
    "control \x00\x07 characters\u2028and separators",
    "   ",
)
GARDEN = Path(__file__).parent / "data" / "garden"
WORDS = (
    "soil",
    "light",
    "water",
    "ivy",
    "fern",
    "moss",
    "root",
    "leaf",
    "stem",
    "frost",
    "shade",
    "seed",
    "bulb",
    "graft",
)
LOG = [
    {"loss": 2.5 * 0.97**step + 0.1 * (step % 3), "grad_norm": 8 / (1 + step) + 1,
     "learning_rate": 2e-4 * (1 - step / 60), "cosine_documents": 0.3, "cosine_pairs": 0.6 + step / 300,
     "cosine_others": 0.3, "step": step}
    for step in range(1, 61)
]  # fmt: skip


def texts(count, seed=0):
    """Texts of a few words, the nasty ones first."""
    rng = np.random.default_rng(seed)
    plain = [" ".join(rng.choice(WORDS, rng.integers(4, 12))) for _ in range(count)]
    return [*NASTY, *plain][:count] if count > len(NASTY) else plain


def difference(after, before):
    """An entry of ``comparison``."""
    gains = np.asarray(after) - np.asarray(before)
    mean, error = float(gains.mean()), float(gains.std() / max(len(gains), 1) ** 0.5)
    low, high = mean - 1.96 * error, mean + 1.96 * error
    return {
        "difference": mean, "ci_low": low, "ci_high": high, "p_value": 0.0001 if low > 0 else 0.3,
        "wins": int((gains > 0).sum()), "losses": int((gains < 0).sum()), "ties": int((gains == 0).sum()),
        "verdict": "better" if low > 0 else "worse" if high < 0 else "no difference",
        "effect_size": mean / (float(gains.std()) or 1.0), "detectable": 2.8 * error, "test": "paired randomisation",
        "tests": {"paired randomisation": 0.0001 if low > 0 else 0.3, "Student's t": 0.0001 if low > 0 else 0.3},
    }  # fmt: skip


def retrieval(folder, count=40, *, run=True, analysis=True, name=NASTY[0]):
    """A run (or an evaluation) of retrieval on that many queries."""
    rng = np.random.default_rng(1)
    before = np.round(rng.beta(1, 1, count), 4)
    after = np.clip(before + rng.normal(0.1, 0.2, count), 0, 1)
    after[::4] = before[::4]
    scores = {"ndcg@10": after, "mrr@10": after**0.5, "recall@100": np.round(after)}
    other = {"ndcg@10": before, "mrr@10": before**0.5, "recall@100": np.round(before)}
    folder.mkdir(parents=True)
    asked = texts(count)
    columns = {"query_id": [f"q{row}" for row in range(count)], "query": asked}
    columns |= scores | {f"against:{key}": value for key, value in other.items()}
    pq.write_table(pa.table(columns), folder / "per_query.parquet")
    metrics = {
        "model": f"{folder}/model", "data": "tests/data/garden", "split": "test", "task": "retrieval",
        "unit": "queries", "queries": count, "metrics": {key: float(value.mean()) for key, value in scores.items()},
        "against": {"model": "bundled", "metrics": {key: float(value.mean()) for key, value in other.items()}},
        "comparison": {key: difference(scores[key], other[key]) for key in scores},
    }  # fmt: skip
    write(folder, metrics, run=run)
    if analysis:
        write_analysis(folder, retrieval_errors(asked, name))
    return folder


def similarity(folder, count=40):
    """A run on that many scored pairs."""
    rng = np.random.default_rng(2)
    gold = np.round(rng.uniform(0, 1, count), 2)
    after, before = gold + rng.normal(0, 0.1, count), gold + rng.normal(0, 0.3, count)
    folder.mkdir(parents=True)
    left, right = texts(count, 3), texts(count, 4)
    pq.write_table(
        pa.table({"sentence1": left, "sentence2": right, "score": gold, "cosine": after, "against:cosine": before}),
        folder / "per_query.parquet",
    )
    worst = [
        {
            "sentence1": left[row],
            "sentence2": right[row],
            "score": gold[row],
            "cosine": after[row],
            "ranks_too_high": 9.0,
        }
        for row in range(8)
    ]
    metrics = {
        "model": f"{folder}/model", "data": "pairs", "split": "test", "task": "similarity", "pairs": count,
        "metrics": {"spearman": 0.9, "pearson": 0.91}, "intervals": {"spearman": [0.85, 0.93], "pearson": [0.86, 0.94]},
        "against": {"model": "bundled", "metrics": {"spearman": 0.7, "pearson": 0.69}}, "worst": worst,
        "comparison": {key: difference(after, before) for key in ("spearman", "pearson")},
    }  # fmt: skip
    write(folder, metrics, task="similarity", metric="spearman")
    bias = [{"by": "overlap", "label": NASTY[1], "pairs": 9, "residual": 0.1, "ci_low": 0.02, "ci_high": 0.2}]
    write_analysis(
        folder, {"task": "similarity", "metric": "spearman", "worst": worst, "bias": bias, "slices": slices(),
                 "negation": {"pairs": 5, "reading": "It does not see negation.", "examples": []}}
    )  # fmt: skip
    return folder


def classification(folder, count=60, number=12):
    """A run on that many texts of so many classes."""
    rng = np.random.default_rng(5)
    names = [NASTY[0], NASTY[3], *(f"class {place}" for place in range(2, number))]
    gold = rng.integers(0, number, count)
    answers = [np.where(rng.uniform(size=count) < share, gold, rng.integers(0, number, count)) for share in (0.8, 0.6)]
    folder.mkdir(parents=True)
    columns = {"text": texts(count, 6), "label": [[names[place]] for place in gold]}
    for prefix, answer in zip(("", "against:"), answers, strict=True):
        columns |= {f"{prefix}predicted": [[names[place]] for place in answer],
                    f"{prefix}probability": rng.uniform(0.3, 1, count), f"{prefix}correct": answer == gold}  # fmt: skip
    pq.write_table(pa.table(columns), folder / "per_query.parquet")
    matrix = np.zeros((number, number), int)
    np.add.at(matrix, (gold, answers[0]), 1)
    right = [answer == gold for answer in answers]
    per_class = [
        {"class": one, "texts": 5, "predicted": 4, "precision": 0.5, "recall": 0.4, "f1": 0.44} for one in names
    ]
    bins = [{"low": low / 10, "high": low / 10 + 0.1, "count": 7, "confidence": low / 10 + 0.05, "accuracy": low / 11}
            for low in range(3, 10)]  # fmt: skip
    metrics = {
        "model": f"{folder}/model", "data": "texts", "split": "test", "task": "classification", "texts": count,
        "metrics": {"accuracy": float(right[0].mean()), "ece": 0.1},
        "against": {"model": "bundled, logistic head", "metrics": {"accuracy": float(right[1].mean()), "ece": 0.2}},
        "comparison": {"accuracy": difference(*(side.astype(float) for side in right)),
                       "ece": {**difference([0.1, 0.1], [0.2, 0.2]), "verdict": "better"}},
        "per_class": per_class, "confusion": {"classes": names, "matrix": matrix.tolist(), "confused": []},
        "calibration": {"ece": 0.1, "ece_uncalibrated": 0.2, "bins": bins},
    }  # fmt: skip
    write(folder, metrics, task="classification", metric="accuracy")
    near = [{"text": NASTY[0], "label": names[0], "cosine": 0.9}]
    wrong = [{"text": text, "label": names[0], "predicted": names[1], "probability": 0.9, "nearest": near}
             for text in texts(12)]  # fmt: skip
    write_analysis(folder, {"task": "classification", "metric": "accuracy", "mistakes": wrong, "label_errors": wrong})
    return folder


def write(folder, metrics, *, run=True, task="retrieval", metric="ndcg@10"):
    """``metrics.json``, and for a run ``run.json`` and ``train_log.jsonl``."""
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if not run:
        return
    config = RunConfig.model_validate(
        {"task": task, "data": {"path": "DATA"}, "training": {"epochs": 3, "batch_size": 16}}
    ).model_dump(mode="json")
    leak = {
        "kind": "query text",
        "split": "test",
        "count": 2,
        "share": 0.05,
        "examples": list(NASTY[:3]),
        "severe": True,
    }
    record = {
        "format": 1, "status": "finished", "config": config, "base_fingerprint": "a" * 64, "fingerprint": "b" * 64,
        "data": {"path": "DATA", "kind": "pairs", "rows": {"train": 900, "dev": 40, "test": len(NASTY)},
                 "files": {"train.jsonl": "c" * 64}, "faults": {}},
        "leakage": [leak], "seconds": 61.5, "best": {"step": 45, "metric": metric, "value": 0.81, "base": 0.7},
        "environment": {"python": "3.11", "processor": "AVX512", "threads": 2, "versions": {"embedft": "0.1.0"}},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    evaluations = [{f"eval_{metric}": 0.7 + step / 500, "step": step} for step in range(15, 61, 15)]
    lines = sorted([*LOG, *evaluations], key=lambda line: line["step"])
    (folder / "train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def slices():
    """Slices of both kinds, one of them with a hostile name."""
    return [
        {"by": by, "label": label, "count": 20 + place, "score": 0.5 + place / 50, "ci_low": 0.4, "ci_high": 0.7,
         "against": 0.45, "difference": 0.05 - place / 50, "difference_ci_low": 0.02 - place / 50,
         "difference_ci_high": 0.08 - place / 50}
        for place, (by, label) in enumerate(
            [("query length", "1 to 4 words"), ("query length", "more"), ("overlap", NASTY[0]), ("overlap", "high")]
        )
    ]  # fmt: skip


def retrieval_errors(asked, name):
    """Errors of a retrieval model, with the texts of the queries."""
    document = {"id": "d1", "title": name, "text": NASTY[1], "grade": 1, "rank": 3, "against_rank": None}
    instead = {"id": "d2", "title": NASTY[2], "text": NASTY[5], "rank": 1, "score": 0.7, "grade": None}
    cards = [
        {
            "query_id": f"q{row}",
            "query": text,
            "score": 0.1,
            "against": 0.9,
            "relevant": [document],
            "instead": [instead],
        }
        for row, text in enumerate(asked[:12])
    ]
    return {
        "task": "retrieval", "metric": "ndcg@10", "k": 10, "lost": cards, "won": cards[:3], "failed": cards[:1],
        "hubs": {"k": 10, "skewness": 1.5, "top": [{**document, "queries": 9, "relevant_to": 1}]}, "slices": slices(),
        "overlap": {"spearman": 0.3, "ci_low": 0.1, "ci_high": 0.5, "reading": "It matches words, in part."},
        "unjudged": {"k": 10, "share": 0.7, "against_share": 0.6},
        "to_label": [{"query_id": "q1", "query": NASTY[0], "why": NASTY[1], **instead}],
    }  # fmt: skip


def write_analysis(folder, errors):
    """``analysis.json`` with all parts."""
    rng = np.random.default_rng(7)
    points = [{"x": float(x), "y": float(y), "group": ("query", "document")[row % 2], "text": NASTY[row % len(NASTY)]}
              for row, (x, y) in enumerate(rng.normal(size=(60, 2)))]  # fmt: skip
    rungs = [
        {"dim": dim, "storage": storage, "score": 0.6 - 20 / dim**1.3 - size / 100, "ci_low": 0.5 - 20 / dim**1.3,
         "ci_high": 0.7, "share": 0.99, "mb_per_million": dim * 4.0 / size, "qps": 1000.0 * size}
        for dim in (384, 192, 96) for storage, size in (("fp32", 1), ("int8", 4), ("binary", 32))
    ]  # fmt: skip
    geometry = {"anisotropy": 0.2, "uniformity": -2.1, "alignment": None, "effective_dimensions": 80.5, "hubness": 1.2,
                "dim": 384, "texts": 60}  # fmt: skip
    analysis = {
        "format": 1,
        "errors": errors,
        "geometry": {"model": geometry, "against": geometry, "reading": ["The vectors use 80 directions."],
                     "map": {"method": "pca", "points": points, "explained": [0.2, 0.1]}},
        "ladder": {"metric": "ndcg@10", "unit": "queries", "count": 40, "rows": rungs, "share": 0.99,
                   "cheapest": rungs[4], "reading": "192 dimensions as int8 keep 99 %."},
        "guard": {"data": "the general set", "pairs": 180, "metric": "spearman", "before": 0.87, "after": 0.85,
                  "difference": -0.02, "ci_low": -0.04, "ci_high": -0.002, "p_value": 0.01, "verdict": "worse",
                  "reading": "It has forgotten some of what it knew."},
        "stress": {"metric": "ndcg@10", "count": 40, "reading": ["Typos cost most."], "rows": [
            {"stress": "typos", "strength": 0.3, "score": 0.4, "drop": 0.2, "ci_low": 0.1, "ci_high": 0.3,
             "p_value": 0.001, "verdict": "worse", "example": {"before": NASTY[0], "after": NASTY[1]}},
            {"stress": "upper case", "strength": None, "score": 0.6, "drop": 0.0, "ci_low": 0.0, "ci_high": 0.0,
             "p_value": 1.0, "verdict": "no difference", "example": None}]},
    }  # fmt: skip
    (folder / "analysis.json").write_text(json.dumps(analysis))
