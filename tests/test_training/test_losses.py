"""The loss equals the reference's where no text repeats, and never takes a positive for a negative."""

import math
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import (
    CASE_IDS,
    CASES,
    PAIRS,
    TRIPLETS,
    assert_equal_losses,
    batch_of,
    guide_of,
    small,
    table,
    value_and_gradients,
)

from embedft.encoder import Encoder
from embedft.errors import ConfigError, DataError
from embedft.training.batches import PairCollator, SeededBatchSampler, number_of_batches
from embedft.training.losses.masks import PairSet, Relations, column_ids, false_negative_mask, text_ids
from embedft.training.losses.ranking import multiple_negatives_ranking
from embedft.training.losses.registry import LOSSES, build_loss, check_loss, rows_for

ROWS = [
    {"anchor": "where do ferns grow", "positive": "in deep shade", "negatives": ["in full sun"]},
    {"anchor": "how to water an orchid", "positive": "a bath in soft water once a week", "negatives": []},
    {"anchor": "what is basil used for", "positive": "pesto", "negatives": ["tea", "jam and cakes"]},
]


def mask_of(anchors, positives, negatives=()):
    return false_negative_mask(text_ids(anchors), text_ids(positives), text_ids(negatives)).int().tolist()


def test_nothing_is_masked_where_all_texts_differ():
    assert mask_of(["a", "b"], ["p", "q"], ["n"]) == [[0, 0, 0], [0, 0, 0]]


def test_a_positive_that_equals_another_rows_positive_or_negative_is_no_negative():
    assert mask_of(["a", "b"], ["p", "p"]) == [[0, 1], [1, 0]]
    assert mask_of(["a", "b"], ["p", "q"], ["q", "n"]) == [[0, 0, 0, 0], [0, 0, 1, 0]]


def test_all_positives_of_one_anchor_are_masked_for_each_of_its_rows():
    assert mask_of(["a", "a", "b"], ["p", "q", "r"], ["q", "n"]) == [[0, 1, 0, 1, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_a_candidate_that_is_the_anchor_itself_is_masked():
    assert mask_of(["a", "b"], ["b", "c"]) == [[0, 0], [1, 0]]


def test_text_ids_tell_texts_apart_and_survive_lone_surrogates():
    ids = text_ids(["a", "b", "a", "\ud83d"])
    assert ids[0] == ids[2]
    assert len(set(ids.tolist())) == 3
    assert (ids >= 0).all()


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("losses")
    return small(folder), *guide_of(folder)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_value_and_gradients_are_those_of_the_reference(setting, case):
    encoder, guide_encoder, guide = setting
    name, options, rows, of_reference = case
    model = encoder.sentence_transformer
    features, labels = batch_of(encoder, rows)
    theirs = value_and_gradients(of_reference(model, guide_encoder), features, labels)
    known = PairSet.positives(table(rows)) if "anchor" in rows[0] else None
    ours = value_and_gradients(build_loss(name, options, model, guide=guide, known=known), features, labels)
    assert theirs[0] > 0
    assert_equal_losses(ours, theirs)


def test_any_number_of_negatives_are_candidates(setting):
    """Whichever rows list them: sentence-transformers wants the same number in each."""
    encoder, _, guide = setting
    model = encoder.sentence_transformer
    negatives = iter([row["negatives"][0] for row in TRIPLETS])
    counts = [2, 0, 3, 1, 0, 2, 0, 0]
    rows = [row | {"negatives": list(islice(negatives, count))} for row, count in zip(PAIRS, counts, strict=True)]
    for name in ("mnrl", "gist", "distil_kl"):
        loss = build_loss(name, {}, model, guide=guide)
        torch.testing.assert_close(loss(*batch_of(encoder, rows)), loss(*batch_of(encoder, TRIPLETS)))


def test_a_learned_scale_learns_and_stays_below_100(setting):
    encoder = setting[0]
    batch = batch_of(encoder, PAIRS)
    loss = build_loss("mnrl", {"learn_scale": True, "scale": 20.0}, encoder.sentence_transformer)
    (scale,) = loss.objective.parameters()
    loss(*batch).backward()
    step = 1e-3
    expected = [
        build_loss("mnrl", {"scale": 20.0 * math.exp(sign * step)}, encoder.sentence_transformer)(*batch).item()
        for sign in (1, -1)
    ]
    assert scale.grad.item() == pytest.approx((expected[0] - expected[1]) / (2 * step), rel=0.02)
    with torch.no_grad():
        scale.fill_(10.0)
    capped = loss(*batch)
    assert scale.exp().item() == pytest.approx(100)
    torch.testing.assert_close(
        capped, build_loss("mnrl", {"scale": 100.0}, encoder.sentence_transformer)(*batch), rtol=1e-4, atol=1e-6
    )


def test_a_positive_known_from_elsewhere_is_no_negative():
    known = PairSet.positives(table([PAIRS[0], PAIRS[0] | {"positive": PAIRS[1]["positive"]}, *PAIRS[2:]]))
    ids = [text_ids([row[side] for row in PAIRS[:3]]) for side in ("anchor", "positive")]
    plain = Relations(*ids, text_ids([]))
    aware = Relations(*ids, text_ids([PAIRS[1]["positive"]]), known)
    assert not plain.candidates().any()
    assert not plain.anchors().any()
    # Row 1's own positive is in the batch twice; row 0 knows it from the training data.
    assert aware.candidates().int().tolist() == [[0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert aware.anchors().int().tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_the_symmetric_half_takes_no_anchor_of_the_same_positive_for_a_negative():
    anchors, positives = text_ids(["a", "b", "a", "d"]), text_ids(["p", "p", "q", "a"])
    found = Relations(anchors, positives, text_ids([])).anchors()
    # Of p: b has it too, a stands twice. Of q: its anchor stands twice. Of the text a: it is an anchor twice.
    assert found.int().tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 1, 0]]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40), st.lists(st.integers(0, 12), max_size=9))
def test_a_set_of_pairs_is_a_set_of_pairs(pairs, asked):
    anchors, others = (np.array(side, np.int64) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
    found = PairSet(anchors, others)
    ids = np.array(asked, np.int64)
    assert len(found) == len(set(pairs))
    assert found.among(ids, ids[::-1]).tolist() == [[(a, c) in set(pairs) for c in asked[::-1]] for a in asked]


def test_ids_of_a_column_are_those_of_its_texts():
    column = pa.chunked_array([["b", "a"], ["c", "a", "b"], []], type=pa.string())
    assert column_ids(column).tolist() == text_ids(["b", "a", "c", "a", "b"]).tolist()
    assert column_ids(pa.chunked_array([], type=pa.string())).tolist() == []


def test_masked_candidates_have_no_say():
    torch.manual_seed(0)
    anchors, candidates = torch.randn(3, 8), torch.randn(4, 8)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[:, 3] = True
    without = multiple_negatives_ranking(anchors, candidates[:3], mask[:, :3])
    torch.testing.assert_close(multiple_negatives_ranking(anchors, candidates, mask), without)


def test_a_repeated_positive_does_not_push_itself_away():
    """Two rows with one positive: unmasked, each would hold the other's copy for a negative."""
    encoder = Encoder.load("bundled", precision="float32")
    rows = [ROWS[0] | {"negatives": []}, ROWS[1], ROWS[0] | {"anchor": "the place for a fern", "negatives": []}]
    batch = PairCollator(encoder, 128)(rows)
    features = [
        {key: batch[f"{column}_{key}"] for key in ("input_ids", "attention_mask")} for column in ("anchor", "positive")
    ]
    loss = build_loss("mnrl", {}, encoder.sentence_transformer)
    masked = loss([dict(f) for f in features], batch["label"])
    unmasked = loss([dict(f) for f in features], torch.arange(6))
    # The unmasked loss of the two rows can never fall below log 2.
    assert unmasked > masked + 2 / 3 * 0.5


def test_the_collator_prompts_each_side_and_joins_all_negatives():
    encoder = Encoder.load("bundled", prompts={"query": "query ", "document": "text "})
    batch = PairCollator(encoder, 128)(ROWS)
    decode = encoder.sentence_transformer.tokenizer.decode
    assert decode(batch["anchor_input_ids"][0], skip_special_tokens=True) == "query where do ferns grow"
    assert decode(batch["positive_input_ids"][2], skip_special_tokens=True) == "text pesto"
    assert batch["negative_input_ids"].shape[0] == 3
    assert batch["label"].shape == (9,)
    assert batch["anchor_input_ids"].shape[1] < batch["positive_input_ids"].shape[1] + 5


def test_texts_are_cut_to_the_length_of_training(encoder):
    rows = [{"anchor": "a", "positive": "word " * 500, "negatives": []}] * 2
    assert PairCollator(encoder, 32)(rows)["positive_input_ids"].shape == (2, 32)


def test_batches_depend_on_seed_and_epoch_alone():
    def epoch(number, seed=1):
        sampler = SeededBatchSampler(range(21), 5, seed=seed)
        sampler.set_epoch(number)
        return list(sampler)

    assert epoch(0) == epoch(0)
    assert epoch(0) != epoch(1)
    assert epoch(0) != epoch(0, seed=2)
    rows = [row for batch in epoch(0) for row in batch]
    assert len(epoch(0)) == 4
    # 21 rows in batches of 5: the last row would be alone, without a negative.
    assert len(set(rows)) == 20


@pytest.mark.parametrize(("rows", "batches"), [(10, 2), (11, 2), (12, 3), (2, 1), (1, 0)])
def test_a_batch_of_one_does_not_count(rows, batches):
    assert number_of_batches(rows, 5) == batches
    assert len(list(SeededBatchSampler(range(rows), 5, seed=0))) == batches


ALL = tuple(LOSSES)


@pytest.mark.parametrize(
    ("name", "options", "extra", "found", "hint"),
    [
        ("mnlr", {}, {}, "'mnlr', which does not exist", "mnrl"),
        ("cosent", {}, {"allowed": ("mnrl",)}, "needs scored pairs", "task similarity"),
        ("mnrl", {"temperature": 1.0}, {}, "temperature", "symmetric"),
        ("mnrl", {"scale": True}, {}, "scale is True", "a number above 0"),
        ("mnrl", {"scale": 0.0}, {}, "scale is 0.0", "a number above 0"),
        ("mnrl", {"symmetric": 1.0}, {}, "symmetric is 1.0", "true or false"),
        ("mnrl", {"scale": 150.0, "learn_scale": True}, {}, "scale is 150", "learn_scale to false"),
        ("triplet", {"margin": -0.1}, {}, "margin is -0.1", "at least 0"),
        ("gist", {"margin_strategy": "loose"}, {"guide": "bundled"}, "is 'loose'", "absolute or relative"),
        ("triplet", {}, {"gradient_cache": True}, "none for the loss triplet", "gradient_accumulation"),
        ("mnrl", {}, {"gradient_cache": True, "gradient_checkpointing": True}, "both set", "leave"),
        ("gist", {}, {}, "needs a second encoder", "training.guide"),
        ("mnrl", {}, {"guide": "bundled"}, "asks none", "leave it out, or use gist, distil_margin_mse, distil_kl."),
        ("cosent", {}, {"guide": "bundled", "allowed": ("cosent",)}, "asks none", "leave it out."),
        ("mnrl", {}, {"matryoshka": [64, 64]}, "[64, 64]", "different"),
        ("mnrl", {}, {"matryoshka": [0]}, "[0]", "at least 1"),
        ("mnrl", {}, {"matryoshka": [512, 64], "dim": 384}, "has 512, but vectors have 384", "up to 384"),
        ("angle", {}, {"matryoshka": [33], "dim": 384}, "even numbers of dimensions, not 33", "matryoshka"),
    ],
)
def test_what_a_loss_cannot_do_is_refused(name, options, extra, found, hint):
    with pytest.raises(ConfigError) as error:
        check_loss(name, options, extra.pop("allowed", ALL), **extra)
    assert found in error.value.message
    assert hint in error.value.hint


def test_a_large_scale_is_right_if_it_is_not_learned_or_the_largest_that_may_be():
    check_loss("mnrl", {"scale": 150.0}, ALL)
    check_loss("mnrl", {"scale": 100.0, "learn_scale": True}, ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_loss_can_do_its_defaults(name):
    loss = LOSSES[name]
    options = {key: option.default for key, option in loss.options.items() if option.default is not None}
    guide = "bundled" if loss.guided else None
    check_loss(name, options, ALL, guide=guide, gradient_cache=loss.cached, matryoshka=[64, 32], dim=384)


def test_triplets_are_rows_of_one_negative():
    rows = table(ROWS)
    for name in ("triplet", "distil_margin_mse"):
        found = rows_for(name, rows)
        assert found.schema == rows.schema
        assert found["negatives"].to_pylist() == [["in full sun"], ["tea"], ["jam and cakes"]]
        assert found["anchor"].to_pylist() == [ROWS[0]["anchor"], *[ROWS[2]["anchor"]] * 2]


def test_own_candidates_need_negatives():
    rows = table(ROWS)
    assert rows_for("distil_kl", rows).num_rows == 3
    assert rows_for("distil_kl", rows, options={"in_batch": False})["negatives"].to_pylist() == [
        ["in full sun"],
        ["tea", "jam and cakes"],
    ]
    with pytest.raises(DataError, match="loss distil_kl: 1 of 2 training rows have negatives; expected at least 2"):
        rows_for("distil_kl", rows.slice(1), options={"in_batch": False})


@pytest.mark.parametrize(
    ("name", "rows", "found"),
    [
        ("triplet", table(PAIRS), "plants.jsonl: loss triplet: the training rows have 0 negatives"),
        ("mnrl", pa.table({"sentence1": ["a"], "sentence2": ["b"], "score": [1.0]}), "loss mnrl: needs pairs"),
        ("cosent", table(PAIRS), "loss cosent: needs scored pairs"),
        ("contrastive", pa.table({"sentence1": ["a", "b"], "sentence2": ["b", "c"], "score": [1.0, 0.25]}), "0.25"),
    ],
)
def test_rows_that_lack_something_are_refused(name, rows, found):
    with pytest.raises(DataError, match=found):
        rows_for(name, rows, source="plants.jsonl")


def loss_table():
    """The table of all losses as Markdown."""
    lines = ["| loss | of a row or batch | source | rows | options and defaults |", "|---|---|---|---|---|"]
    for name, loss in LOSSES.items():
        options = [f"`{key}{shown(option.default)}`: {option.meaning}" for key, option in loss.options.items()]
        rows = [loss.needs, *(["a guide"] if loss.guided else [])]
        cells = [f"`{name}`", f"`{loss.formula}`", loss.paper, " and ".join(rows), "<br>".join(options) or "none"]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def shown(value):
    if value is None:
        return ""
    return f" = {value:g}" if isinstance(value, float) else f" = {str(value).lower()}"


def test_the_page_of_losses_is_that_of_the_registry():
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    assert loss_table() in page, f"put this table into docs/losses.md:\n{loss_table()}"
    cached = ", ".join(f"`{name}`" for name, loss in LOSSES.items() if loss.cached)
    assert f"Losses with a gradient cache: {cached}." in page


def test_scores_are_computed_in_fp32_under_autocast():
    torch.manual_seed(0)
    anchors, candidates = torch.randn(6, 32), torch.randn(6, 32)
    mask = torch.zeros(6, 6, dtype=torch.bool)
    exact = multiple_negatives_ranking(anchors, candidates, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert multiple_negatives_ranking(anchors, candidates, mask) == exact


def test_a_loss_on_the_first_dimensions_sees_no_others(encoder):
    batch = PairCollator(encoder, 128)(ROWS[:2])
    columns = ("anchor", "positive", "negative")
    features = [{key: batch[f"{column}_{key}"] for key in ("input_ids", "attention_mask")} for column in columns]
    losses = [build_loss("mnrl", {}, encoder.sentence_transformer, dim) for dim in (None, 384, 16)]
    whole, same, cut = (loss([dict(f) for f in features], batch["label"]) for loss in losses)
    assert whole == same != cut
