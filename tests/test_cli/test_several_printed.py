"""Many systems on a terminal: their letters take lines of their own, and names and scores stay whole."""

import re

import numpy as np

from embedft.cli.evidence import print_several
from embedft.evaluation import RetrievalEvaluation, ranking_of_run
from embedft.evaluation.several import compare_several

METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "precision@10", "map@100")


def test_of_many_systems_names_and_scores_stay_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ids = [f"q{row}" for row in range(30)]
    found = ranking_of_run({query: {"d": 1.0} for query in ids})
    random = np.random.default_rng(0)
    systems = [
        RetrievalEvaluation(
            "m", "garden", "test", ids, {name: 0.05 * place + 0.1 * random.random(30) for name in METRICS}, found,
            data_sha256="a" * 64,
        )
        for place in range(12)
    ]  # fmt: skip
    names = [f"seed {place}" for place in range(12)]
    several = compare_several(names, systems)
    assert len(several.better_than(11, METRICS[0])) > 8
    print_several(several)
    shown = capsys.readouterr().out.split("Letters,")[0]
    assert "…" not in shown
    for place, name in enumerate(names):
        assert name in shown
        for metric in METRICS:
            assert f"{several.score(place, metric):.4f}" in shown
    assert len(re.findall(r"\d\.\d{3}-\d\.\d{3}", shown)) == 12 * len(METRICS)
    assert all(metric in shown for metric in METRICS)
