"""Canaries tell an encoder that computes something else, though its fingerprint is the same."""

import numpy as np
import pytest

from embedft.encoder import Encoder
from embedft.errors import WrongModelError
from embedft.index import Index
from embedft.index.canaries import FILE, TEXTS, canaries, check_canaries, write_canaries


@pytest.fixture(scope="module")
def kept(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("canaries")
    write_canaries(folder, encoder)
    return np.load(folder / FILE, allow_pickle=False)


@pytest.fixture(scope="module")
def odd():
    """The bundled encoder after its weights changed in memory: its fingerprint, computed before, stays."""
    import torch

    changed = Encoder.load("bundled", precision="float32")
    assert changed.fingerprint
    with torch.no_grad():
        for block in changed._forward._network.layers if hasattr(changed._forward, "_network") else []:
            block.mul_(2)
    return changed


def test_the_encoder_that_wrote_them_is_the_same_to_rounding(kept, encoder, tmp_path):
    assert kept.shape == (2 * len(TEXTS), encoder.dim)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-5)
    for queries in (True, False):
        assert check_canaries(tmp_path, kept, encoder, queries=queries) == pytest.approx(1, abs=1e-5)
