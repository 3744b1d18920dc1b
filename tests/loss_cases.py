"""Batches, guides and the losses of sentence-transformers that ours are equal to, for the tests of losses."""

import pyarrow as pa
import torch
from families import bert, modernbert, saved
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses as reference
from sentence_transformers.util import pairwise_cos_sim

from embedft.data.retrieval import PAIRS_SCHEMA
from embedft.encoder import Encoder
from embedft.training.batches import PairCollator, ScoredCollator
from embedft.training.losses.guide import GuideVectors

PLANTS = ["fern", "rose", "cactus", "tomato", "ivy", "basil", "orchid", "lemon"]
PAIRS = [
    {"anchor": f"how to water a {plant}", "positive": f"The {plant} wants moist roots, {n} times a month."}
    | {"negatives": []}
    for n, plant in enumerate(PLANTS)
]
TRIPLETS = [row | {"negatives": [f"A {plant} is no animal."]} for plant, row in zip(PLANTS, PAIRS, strict=True)]
SCORES = [0.0, 0.2, 0.2, 0.5, 1.0, 0.9, 0.4, 0.4]
SCORED = [
    {"sentence1": row["anchor"], "sentence2": row["positive"], "score": score}
    for row, score in zip(PAIRS, SCORES, strict=True)
]
BINARY = [row | {"score": float(row["score"] > 0.3)} for row in SCORED]
GUIDED = ("gist", "distil_margin_mse", "distil_kl")


def small(folder):
    """An encoder of random weights, for gradients in a moment; (rows, 32)."""
    (folder / "small").mkdir(parents=True, exist_ok=True)
    return Encoder.load(saved(folder / "small", bert()), precision="float32")


def table(rows):
    return pa.Table.from_pylist(rows, schema=PAIRS_SCHEMA)


def batch_of(encoder, rows):
    """The features of each column, and the label."""
    scored = "score" in rows[0]
    batch = (ScoredCollator if scored else PairCollator)(encoder, 64)(rows)
    columns = ("sentence1", "sentence2") if scored else ("anchor", "positive", "negative")
    keys = ("input_ids", "attention_mask")
    features = [{key: batch[f"{name}_{key}"] for key in keys} for name in columns if f"{name}_input_ids" in batch]
    return features, batch["label"]


def guide_of(folder):
    """A guide that often disagrees with the encoder: random weights; as an encoder, and its texts embedded."""
    (folder / "guide").mkdir(parents=True, exist_ok=True)
    path = saved(folder / "guide", modernbert())
    encoder = Encoder.load(path, precision="float32")
    return encoder, GuideVectors.embed(encoder, table(TRIPLETS), folder / "vectors")


def value_and_gradients(module, features, labels):
    """The loss, and the gradient of every weight that has one, by name."""
    module.zero_grad()
    value = module([dict(column) for column in features], labels)
    value.backward()
    found = {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}
    return value.detach(), {name.replace("loss.model.", "model."): gradient for name, gradient in found.items()}


def assert_equal_losses(ours, theirs, *, scale=1.0):
    """Value and gradients agree; the tolerance is relative to the largest gradient."""
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-6)
    largest = max(gradient.abs().max().item() for gradient in theirs[1].values())
    for name, gradient in theirs[1].items():
        torch.testing.assert_close(ours[1][name], gradient, rtol=1e-3, atol=1e-4 * largest * scale)


class Labelled(torch.nn.Module):
    """A loss of sentence-transformers with labels other than the batch's."""

    def __init__(self, loss, labels):
        super().__init__()
        self.loss, self.labels = loss, labels

    def forward(self, features, _labels):
        return self.loss(features, self.labels)


def teacher_scores(guide, rows):
    """Cosines of anchor and positive, and of anchor and negative, (rows, 2)."""
    columns = [guide.encode_queries([row["anchor"] for row in rows])]
    columns += [guide.encode_documents([row["positive"] for row in rows])]
    columns += [guide.encode_documents([row["negatives"][0] for row in rows])]
    anchors, positives, negatives = map(torch.from_numpy, columns)
    return torch.stack([(anchors * positives).sum(1), (anchors * negatives).sum(1)], dim=1)


# name, options, rows, and the loss of sentence-transformers from a model and a guide (an Encoder).
CASES = [
    ("mnrl", {"scale": 15.0}, PAIRS, lambda model, _: reference.MultipleNegativesRankingLoss(model, scale=15.0)),
    ("mnrl", {}, TRIPLETS, lambda model, _: reference.MultipleNegativesRankingLoss(model)),
    ("mnrl", {"mask": False}, TRIPLETS, lambda model, _: reference.MultipleNegativesRankingLoss(model)),
    ("mnrl", {"learn_scale": True}, PAIRS, lambda model, _: reference.MultipleNegativesRankingLoss(model)),
    ("mnrl", {"symmetric": True}, TRIPLETS, lambda model, _: reference.MultipleNegativesSymmetricRankingLoss(model)),
    ("gist", {}, PAIRS, lambda model, guide: _gist(model, guide)),
    ("gist", {"margin": 0.02}, TRIPLETS, lambda model, guide: _gist(model, guide, margin=0.02)),
    (
        "gist",
        {"margin": 0.03, "margin_strategy": "relative", "temperature": 0.05, "contrast_anchors": False},
        TRIPLETS,
        lambda model, guide: _gist(
            model, guide, margin=0.03, margin_strategy="relative", temperature=0.05, contrast_anchors=False
        ),
    ),
    (
        "gist",
        {"contrast_positives": False},
        TRIPLETS,
        lambda model, guide: _gist(model, guide, contrast_positives=False),
    ),
    ("triplet", {}, TRIPLETS, lambda model, _: _triplet(model, 0.2)),
    ("triplet", {"margin": 0.6}, TRIPLETS, lambda model, _: _triplet(model, 0.6)),
    ("distil_margin_mse", {}, TRIPLETS, lambda model, guide: _margin_mse(model, guide)),
    (
        "distil_kl",
        {"in_batch": False, "student_temperature": 0.5, "teacher_temperature": 0.2},
        TRIPLETS,
        lambda model, guide: _divergence(model, guide),
    ),
    ("cosent", {}, SCORED, lambda model, _: reference.CoSENTLoss(model)),
    ("angle", {"scale": 5.0}, SCORED, lambda model, _: reference.AnglELoss(model, scale=5.0)),
    ("cosine", {}, SCORED, lambda model, _: reference.CosineSimilarityLoss(model)),
    ("contrastive", {}, BINARY, lambda model, _: reference.ContrastiveLoss(model)),
    (
        "online_contrastive",
        {"margin": 1.2},
        BINARY,
        lambda model, _: reference.OnlineContrastiveLoss(model, margin=1.2),
    ),
]
CASE_IDS = ["-".join([name, *options, "triplets" if rows is TRIPLETS else "pairs"]) for name, options, rows, _ in CASES]


def _gist(model, guide, **options):
    opened = SentenceTransformer(str(guide.name), device="cpu")
    return reference.GISTEmbedLoss(model, opened, **options)


def _triplet(model, margin):
    return reference.TripletLoss(model, reference.TripletDistanceMetric.COSINE, triplet_margin=margin)


def _margin_mse(model, guide):
    return Labelled(reference.MarginMSELoss(model, pairwise_cos_sim), teacher_scores(guide, TRIPLETS))


def _divergence(model, guide):
    loss = reference.DistillKLDivLoss(model, pairwise_cos_sim, student_temperature=0.5, teacher_temperature=0.2)
    return Labelled(loss, teacher_scores(guide, TRIPLETS))
