"""Canaries tell an encoder that computes something else, though its fingerprint is the same."""

import numpy as np
import pytest

from embedft.encoder import Encoder
from embedft.errors import WrongModelError
from embedft.index import Index
from embedft.index.canaries import FILE, TEXTS, canaries, check_canaries, write_canaries
from embedft.index.storage import new_version
from embedft.index.verifying import verify


@pytest.fixture(scope="module")
def kept(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("canaries")
    write_canaries(folder, canaries(encoder))
    return np.load(folder / FILE, allow_pickle=False)


@pytest.fixture
def strange(tmp_path, encoder):
    """An index whose canaries were made by something else; every checksum is right."""
    path = tmp_path / "idx"
    index = Index.build(["alpha", "beta"], encoder, path)
    with new_version(path, onto=True) as staged:
        staged.link_tree("base/")
        np.save(staged.path / FILE, np.roll(index._now[0].canaries, 1, axis=0), allow_pickle=False)
        staged.manifest |= {key: value for key, value in index.manifest.items() if key != "files"}
    return path


def test_the_encoder_that_wrote_them_is_the_same_to_rounding(kept, encoder, tmp_path):
    assert (kept.shape, kept.dtype) == ((2 * len(TEXTS), encoder.dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-5)
    for queries in (True, False):
        assert check_canaries(tmp_path, kept, encoder, queries=queries) == pytest.approx(1, abs=1e-5)


def test_another_number_format_of_the_same_model_is_let_through(kept, tmp_path):
    half = Encoder.load("bundled", precision="bfloat16")
    assert 0.99 < check_canaries(tmp_path, kept, half, queries=True) < 1


@pytest.mark.parametrize("row", range(2 * len(TEXTS)))
def test_each_vector_that_differs_is_named_by_its_text_and_side(kept, encoder, tmp_path, row):
    odd = kept.copy()
    odd[row] = -odd[row]
    with pytest.raises(WrongModelError) as caught:
        check_canaries(tmp_path, odd, encoder, queries=True)
    assert f"the {'document' if row < len(TEXTS) else 'query'} {TEXTS[row % len(TEXTS)][:40]!r}" in caught.value.message
    assert "cosine -1.000" in caught.value.message
    assert str(tmp_path) in caught.value.message


def test_a_query_side_that_was_tuned_since_is_not_compared(kept, encoder, tmp_path):
    odd = kept.copy()
    odd[len(TEXTS) :] = 0
    assert check_canaries(tmp_path, odd, encoder, queries=False) == pytest.approx(1, abs=1e-5)
    with pytest.raises(WrongModelError, match="the query"):
        check_canaries(tmp_path, odd, encoder, queries=True)


def test_a_vector_that_is_no_number_is_another_one(kept, encoder, tmp_path):
    odd = kept.copy()
    odd[3, 5] = np.nan
    with pytest.raises(WrongModelError, match="cosine nan"):
        check_canaries(tmp_path, odd, encoder, queries=True)


def test_an_index_whose_canaries_differ_is_not_searched_with_the_encoder(strange, encoder):
    with pytest.raises(WrongModelError, match="has the fingerprint of the model that built the index, but"):
        Index.open(strange, encoder)
    lazy = Index.open(strange)
    for _ in range(2):
        with pytest.raises(WrongModelError, match="has the fingerprint"):
            lazy.search(["alpha"])


def test_verify_lists_canaries_that_differ(strange, encoder):
    assert verify(strange).problems == []
    (problem,) = verify(strange, lambda _: encoder).problems
    assert "has the fingerprint" in problem
