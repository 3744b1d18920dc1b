"""Seconds that a logistic head takes on embedded texts, against scikit-learn's LogisticRegression.

10,000 vectors of the bundled encoder (banking77: 77 classes; clinc150: 150) are embedded once. Then, in turns: ours and
scikit-learn's at the same C, each by its own default tolerance; and ours with C chosen of five by cross-validation and
calibrated, as a run does. The objective that each ends at is told beside the seconds: the lower one is the better fit.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from environment import summary, write_result
from sklearn.linear_model import LogisticRegression

from embedft.config import HeadConfig
from embedft.encoder import Encoder
from embedft.heads import fit_logistic

C = 10.0
OURS, PEER, WHOLE = "embedft", "scikit-learn", "embedft, C chosen and calibrated"


def labelled(path: Path, split: str, count: int | None) -> tuple[list[str], list[str]]:
    """Texts and labels of a split, ``count`` of them drawn by a fixed seed."""
    rows = [json.loads(line) for line in (path / f"{split}.jsonl").read_text().splitlines()]
    if count is not None:
        rows = [rows[row] for row in np.random.default_rng(0).permutation(len(rows))[:count]]
    return [row["text"] for row in rows], [row["label"] for row in rows]


def objective(logits: np.ndarray, weight: np.ndarray, target: np.ndarray) -> float:
    """What both minimise, over the number of texts."""
    logits = logits.astype(np.float64)
    top = logits.max(1)
    losses = np.log(np.exp(logits - top[:, None]).sum(1)) + top - logits[np.arange(len(target)), target]
    return float((C * losses.sum() + 0.5 * (weight.astype(np.float64) ** 2).sum()) / (C * len(target)))


def measure(path: Path, texts: int, rounds: int) -> dict[str, Any]:
    """Rows of the table of one data set."""
    encoder = Encoder.load("bundled")
    train, test = labelled(path, "train", texts), labelled(path, "test", None)
    vectors, judged = (encoder.encode_documents(part[0]) for part in (train, test))
    classes, target = np.unique(train[1], return_inverse=True)
    labels = [(label,) for label in train[1]]
    seconds: dict[str, list[float]] = {OURS: [], PEER: [], WHOLE: []}
    rows: dict[str, Any] = {}
    for number in range(rounds):
        for name in seconds:
            start = time.perf_counter()
            if name == PEER:
                peer = LogisticRegression(C=C, max_iter=1000).fit(vectors, target)
                seconds[name].append(time.perf_counter() - start)
                logits, weight = peer.decision_function(vectors), peer.coef_
                said = classes[peer.predict(judged)]
            else:
                plain = HeadConfig(regularisation=C, calibrate=False, in_scope=1.0)
                head = fit_logistic(vectors, labels, plain if name == OURS else HeadConfig())
                seconds[name].append(time.perf_counter() - start)
                logits, weight = head.logits(vectors), head.layers[0][0]
                said = np.array([row[0] for row in head.predict(judged)])
            rows[name] = {"accuracy": float((said == np.array(test[1])).mean())}
            if name != WHOLE:
                rows[name]["objective"] = objective(logits, weight, target)
            else:
                rows[name]["C"] = head.record["C"]
            print(f"{path.name}, round {number + 1}: {name:34} {seconds[name][-1]:6.2f} s", flush=True)
    for name, row in rows.items():
        row |= summary(seconds[name])
        row["times_peer"] = summary(seconds[PEER])["median"] / row["median"]
        fit = f"objective {row['objective']:.6f}" if "objective" in row else f"C {row['C']:g}"
        print(
            f"{path.name}, {name:34} {row['median']:6.2f} s [{row['min']:.2f} .. {row['max']:.2f}],"
            f" {row['times_peer']:.2f} x, accuracy {row['accuracy']:.4f}, {fit}",
            flush=True,
        )
    return {"texts": len(vectors), "dim": encoder.dim, "classes": len(classes), "C": C, "variants": rows}


def main() -> None:
    """Measure, print, write ``results/head.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with banking77 and clinc150")
    parser.add_argument("--sets", nargs="+", default=["banking77", "clinc150"])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    found = {name: measure(options.data / name, options.texts, options.rounds) for name in options.sets}
    if not options.dry:
        write_result("head", {"peer": PEER, "sets": found})


if __name__ == "__main__":
    main()
