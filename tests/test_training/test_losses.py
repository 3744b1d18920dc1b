"""The loss equals the reference's where no text repeats, and never takes a positive for a negative."""

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embedft.encoder import Encoder
from embedft.errors import ConfigError
from embedft.training.batches import PairCollator, SeededBatchSampler, number_of_batches
from embedft.training.losses import build_loss, check_loss
from embedft.training.masks import false_negative_mask, text_ids
from embedft.training.ranking import multiple_negatives_ranking

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


def loss_and_gradients(model, compute):
    model.zero_grad()
    value = compute()
    value.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return value.detach(), gradients


@pytest.mark.parametrize("negatives", [False, True])
def test_loss_and_gradients_equal_sentence_transformers_where_no_text_repeats(negatives):
    encoder = Encoder.load("bundled", precision="float32")
    model = encoder.sentence_transformer
    rows = [
        {**row, "negatives": [f"nothing of the kind {place}"] if negatives else []} for place, row in enumerate(ROWS)
    ]
    batch = PairCollator(encoder, 128)(rows)
    columns = ["anchor", "positive", *(["negative"] if negatives else [])]
    features = [{key: batch[f"{column}_{key}"] for key in ("input_ids", "attention_mask")} for column in columns]
    ours = build_loss("mnrl", {"scale": 15.0}, model)
    reference = MultipleNegativesRankingLoss(model, scale=15.0)
    left = loss_and_gradients(model, lambda: ours([dict(f) for f in features], batch["label"]))
    right = loss_and_gradients(model, lambda: reference([dict(f) for f in features], None))
    torch.testing.assert_close(left[0], right[0], rtol=1e-5, atol=1e-6)
    for name, gradient in right[1].items():
        torch.testing.assert_close(left[1][name], gradient, rtol=1e-3, atol=1e-5)


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


def test_unknown_losses_and_options_are_refused():
    with pytest.raises(ConfigError, match="'triplet'"):
        check_loss("triplet", {}, ("mnrl",))
    with pytest.raises(ConfigError, match="temperature"):
        check_loss("mnrl", {"temperature": 1.0}, ("mnrl",))


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
