"""The flat token stream computes what padded batches with masks compute, for every family, with gradients."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.encoder.attention import attend
from embedft.encoder.kernels import fused, linear_activation, linear_plus, linear_times
from embedft.encoder.layout import Layout, flatten, pack

LENGTHS = [(5,), (16, 16), (40, 40, 9, 9, 9, 1), (300, 300, 131, 130, 64, 3, 3), (700, 257, 256, 255)]


def padded_attention(query, key, value, layout, window):
    """Attention text by text with a dense mask: the definition."""
    outputs, start = [], 0
    for length in layout.lengths:
        q, k, v = (tensor[start : start + length].transpose(0, 1) for tensor in (query, key, value))
        scores = q @ k.transpose(1, 2) * query.shape[-1] ** -0.5
        if window is not None:
            place = torch.arange(length)
            scores = scores.masked_fill((place[:, None] - place).abs() > window, -torch.inf)
        outputs.append((scores.softmax(-1) @ v).transpose(0, 1))
        start += length
    return torch.cat(outputs)


def random_stream(layout, *, heads=3, dim=16, gradients=False):
    torch.manual_seed(sum(layout.lengths))
    return [torch.randn(layout.tokens, heads, dim, requires_grad=gradients) for _ in range(3)]


@pytest.fixture(params=[True, False], ids=["inference", "training"])
def inference(request):
    """Keys begin early in inference alone."""
    with torch.inference_mode(request.param):
        yield


@pytest.mark.usefixtures("inference")
@pytest.mark.parametrize("window", [None, 64, 4])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_attention_is_that_of_each_text_alone(lengths, window):
    layout = Layout(lengths)
    stream = random_stream(layout)
    expected = padded_attention(*stream, layout, window)
    torch.testing.assert_close(attend(*stream, layout, window=window), expected, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_gradients_are_those_of_each_text_alone(lengths, window):
    layout = Layout(lengths)
    gradients = []
    for function in (attend, lambda q, k, v, layout, window: padded_attention(q, k, v, layout, window)):
        stream = random_stream(layout, gradients=True)
        weights = torch.linspace(-1, 1, layout.tokens)[:, None, None]
        (function(*stream, layout, window=window) * weights).square().sum().backward()
        gradients.append([tensor.grad for tensor in stream])
    for ours, reference in zip(*gradients, strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("inference")
def test_what_stands_beside_a_text_does_not_reach_it():
    """The keys of a text begin in the text before it; masked, whatever is there has no say."""
    layout = Layout((16, 16, 9, 9, 9))
    query, key, value = random_stream(layout)
    before = attend(query, key, value, layout)
    key[:41], value[:41] = 1e4, -1e4
    after = attend(query, key, value, layout)
    torch.testing.assert_close(before[41:], after[41:], atol=0, rtol=0)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 500), st.booleans())
@settings(deadline=None, max_examples=60)
def test_batches_name_each_row_once_within_the_budget(lengths, budget, padded):
    batches = list(pack(lengths, budget, padded=padded))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[row] for row in batch]
        cost = len(sizes) * max(sizes) if padded else sum(sizes)
        assert len(batch) == 1 or cost <= budget
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_layout_says_where_each_text_stands():
    rows = [np.array([7, 8, 9], dtype=np.int32), np.array([1, 2, 3], dtype=np.int32), np.array([5], dtype=np.int32)]
    ids, layout = flatten(rows)
    assert ids.tolist() == [7, 8, 9, 1, 2, 3, 5]
    assert layout.positions().tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert [(group.start, group.texts, group.length) for group in layout.groups] == [(0, 2, 3), (6, 1, 1)]
    assert layout.starts.tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("dtype", "name", "bias"),
    list(itertools.product([torch.float32, torch.bfloat16], ["gelu", "relu", "silu", "tanh"], [True, False])),
)
def test_fused_layers_compute_what_plain_ones_compute(monkeypatch, dtype, name, bias):
    from embedft.encoder import kernels

    if not fused(dtype, "cpu"):
        pytest.skip("this PyTorch or processor has no fused layers")
    torch.manual_seed(0)
    x, weight, other = (torch.randn(*shape).to(dtype) for shape in ((33, 48), (20, 48), (33, 20)))
    offset = torch.randn(20).to(dtype) if bias else None

    def compute():
        with torch.inference_mode():
            return [
                linear_activation(x, weight, offset, name),
                linear_times(x, weight, offset, other),
                linear_plus(x, weight, offset, other),
            ]

    together = compute()
    monkeypatch.setattr(kernels, "fused", lambda *_: False)
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    for one, apart in zip(together, compute(), strict=True):
        torch.testing.assert_close(one, apart, atol=tolerance, rtol=tolerance)
