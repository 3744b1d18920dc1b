"""Two processes with their halves of a batch learn what one process learns from the whole, for every loss."""

import json
import os
import socket

import numpy as np
import pytest
import torch
from loss_cases import BINARY, CASE_IDS, CASES, PAIRS, SCORED, TRIPLETS, batch_of, guide_of, small, table
from torch import distributed, multiprocessing

from embedft.encoder import Encoder
from embedft.training.losses.guide import GuideVectors
from embedft.training.losses.ranks import gather
from embedft.training.losses.registry import LOSSES, build_loss
from embedft.training.processes import LONGEST_WAIT, join

# The first process has 5 rows with 0, 1 or 2 negatives each; the second 3, of which none has any.
RAGGED = [row | {"negatives": row["negatives"] * (n % 3) if n < 5 else []} for n, row in enumerate(TRIPLETS)]
SPLIT = 5
ROWS = {id(PAIRS): PAIRS, id(TRIPLETS): TRIPLETS, id(SCORED): SCORED, id(BINARY): BINARY}
ASKED = [(name, options, ROWS[id(rows)], False) for name, options, rows, _ in CASES]
ASKED += [(name, options, rows, True) for name, options, rows, cached in ASKED if LOSSES[name].cached]
ASKED += [
    ("mnrl", {"symmetric": True}, RAGGED, False),
    ("mnrl", {"learn_scale": True}, RAGGED, True),
    ("gist", {}, RAGGED, False),
    ("distil_kl", {"in_batch": True}, RAGGED, False),
]
NAMES = [*CASE_IDS, *(f"{name}-cached" for name, case in zip(CASE_IDS, CASES, strict=True) if LOSSES[case[0]].cached)]
NAMES += ["mnrl-ragged", "mnrl-ragged-cached", "gist-ragged", "distil_kl-ragged"]
# With the bundled encoder; the others with a small one, which takes a moment.
ASKED += [("mnrl", {"symmetric": True, "learn_scale": True}, RAGGED, True), ("cosent", {}, SCORED, False)]
NAMES += ["mnrl-bundled", "cosent-bundled"]


def results(small_encoder, guide, part):
    """Loss and gradients of each case, for the rows that ``part`` picks; one vector of gradients a case."""
    bundled = Encoder.load("bundled", precision="float32")
    values, gradients = [], []
    for asked, (name, options, rows, cached) in zip(NAMES, ASKED, strict=True):
        encoder = bundled if asked.endswith("bundled") else small_encoder
        model = encoder.sentence_transformer
        loss = build_loss(name, options, model, matryoshka=[8], guide=guide, gradient_cache=cached)
        loss.zero_grad()
        value = loss(*batch_of(encoder, rows[part]))
        value.backward()
        # The first layer, which all others lie behind, stands for all of them.
        first = ("layer.0.attention", "layers.0.attn", "log_scale")
        kept = [weight for key, weight in loss.named_parameters() if any(piece in key for piece in first)]
        values.append(value.item())
        gradients.append(torch.cat([weight.grad.flatten() for weight in kept if weight.grad is not None]))
    return values, gradients


def work(rank, folder, port):
    """One of the two processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    join("cpu")
    # One may mine for hours while the other waits.
    assert distributed.group.WORLD._get_backend(torch.device("cpu")).options._timeout == LONGEST_WAIT
    encoder, guide = opened(folder)
    values, gradients = results(encoder, guide, slice(None, SPLIT) if rank == 0 else slice(SPLIT, None))
    for gradient in gradients:
        distributed.all_reduce(gradient)
    if rank == 0:
        np.savez(folder / "joint.npz", *[(gradient / 2).numpy() for gradient in gradients])
    (folder / f"values-{rank}.json").write_text(json.dumps(values))
    odd = torch.arange(3.0 + rank)[:, None].requires_grad_()
    joint = gather(odd)
    (joint * torch.arange(7.0)[:, None]).sum().backward()
    assert joint.flatten().tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert odd.grad.flatten().tolist() == ([0, 2, 4] if rank == 0 else [6, 8, 10, 12])
    assert gather(odd[:0] if rank else odd[:2]).shape == (2, 1)
    distributed.destroy_process_group()


def opened(folder):
    """The encoder and the guide, each as every process opens it."""
    encoder = Encoder.load(folder / "small" / "st", precision="float32")
    guide = Encoder.load(folder / "guide" / "st", precision="float32")
    return encoder, GuideVectors.embed(guide, table(TRIPLETS), folder / "vectors")


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """What two processes found, and what one found."""
    folder = tmp_path_factory.mktemp("ranks")
    small(folder)
    guide_of(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(work, (folder, port), nprocs=2)
    values = [json.loads((folder / f"values-{rank}.json").read_text()) for rank in (0, 1)]
    with np.load(folder / "joint.npz") as file:
        gradients = [torch.from_numpy(file[name]) for name in file.files]
    return values, gradients, *results(*opened(folder), slice(None))


@pytest.mark.slow
@pytest.mark.parametrize("case", range(len(ASKED)), ids=NAMES)
def test_loss_and_gradients_are_those_of_the_joint_batch(joint, case):
    values, gradients, expected_values, expected = joint
    assert values[0][case] == values[1][case] == pytest.approx(expected_values[case], rel=1e-4, abs=1e-6)
    largest = expected[case].abs().max().item()
    torch.testing.assert_close(gradients[case], expected[case], rtol=1e-3, atol=1e-4 * largest)


def test_one_process_gathers_nothing():
    rows = torch.randn(3, 2)
    assert gather(rows) is rows
