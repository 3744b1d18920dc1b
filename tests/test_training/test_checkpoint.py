"""What a checkpoint holds: an encoder as it would be kept, and beside it the numbers that training goes on from."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from training_loop import PLANTS, fresh, vectors

from embedft.config import LoraConfig
from embedft.encoder import open_modules, write_folder
from embedft.errors import ArtifactError
from embedft.training.batches import PairCollator
from embedft.training.checkpoint import MEAN_FILE, WEIGHTS_FILE, TrainedWeights
from embedft.training.lora import add_lora
from embedft.training.losses.registry import build_loss
from embedft.training.parameters import freeze

ROWS = [
    {"anchor": f"{verb} the {plant}", "positive": f"You {verb} a {plant} in spring.", "negatives": []}
    for plant in PLANTS
    for verb in ("water", "plant")
]
# 6 batches an epoch.
STEPS, SAVED_AT = 8, 4


class LearnedScale(torch.nn.Module):
    """A loss with a weight of its own."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.inner = build_loss("mnrl", {}, model)
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, features, labels):
        return self.inner(features, labels) * self.scale.square()


class Trainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer with the weights plugged into its extension points."""

    def __init__(self, encoder, ema, **kwargs):
        self.encoder = encoder
        super().__init__(data_collator=PairCollator(encoder, 32), **kwargs)
        self.weights = TrainedWeights(self.model, self.loss, ema)
        if self.weights.mean:
            self.add_callback(self.weights.mean)

    def _save(self, output_dir=None, state_dict=None):
        with self.weights.judged() as model:
            write_folder(model, Path(output_dir), max_length=512, truncate_dim=None)
        self.weights.write(Path(output_dir))

    def _load_from_checkpoint(self, checkpoint_path):
        if self.weights.read(Path(checkpoint_path)):
            super()._load_from_checkpoint(checkpoint_path)


def trainer(folder, *, lora=False, ema=None, own=False, entries=()):
    encoder = fresh()
    model = encoder.sentence_transformer
    freeze(model, entries)
    if lora:
        add_lora(model, LoraConfig(rank=4, alpha=8, dropout=0.1), seed=3)
    loss = LearnedScale(model) if own else build_loss("mnrl", {}, model)
    arguments = SentenceTransformerTrainingArguments(
        str(folder), max_steps=STEPS, per_device_train_batch_size=4, learning_rate=1e-3, warmup_steps=1, use_cpu=True,
        save_steps=SAVED_AT, report_to="none", disable_tqdm=True, seed=1, logging_steps=1,
    )  # fmt: skip
    return Trainer(encoder, ema, model=model, args=arguments, train_dataset=Dataset.from_list(ROWS), loss=loss)


CASES = {
    "plain, frozen": {"entries": ["embeddings", "layers:4"]},
    "loss with weights": {"own": True, "entries": ["embeddings", "layers:4"]},
    "lora": {"lora": True},
    "mean": {"ema": 0.9, "entries": ["embeddings", "layers:4"]},
    "lora and mean": {"lora": True, "ema": 0.9, "own": True},
}


@pytest.mark.parametrize("case", CASES)
def test_resumed_ends_as_uninterrupted(tmp_path, case):
    options = CASES[case]
    whole = trainer(tmp_path, **options)
    whole.train()
    checkpoint = tmp_path / f"checkpoint-{SAVED_AT}"
    resumed = trainer(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.state.global_step == STEPS
    ours, theirs = whole.loss.state_dict(), resumed.loss.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if whole.weights.mean:
        mean, again = whole.weights.mean.mean, resumed.weights.mean.mean
        assert all(torch.equal(mean[name], again[name]) for name in mean)
        assert not all(torch.equal(mean[name], value) for name, value in whole.weights.parameters.items())
    expected = {"plain, frozen": [], "loss with weights": [WEIGHTS_FILE], "lora": [WEIGHTS_FILE]}
    found = [name for name in (WEIGHTS_FILE, MEAN_FILE) if (checkpoint / name).is_file()]
    assert found == expected.get(case, [WEIGHTS_FILE, MEAN_FILE])


def test_the_folder_of_a_checkpoint_is_the_encoder_that_was_judged(tmp_path):
    run = trainer(tmp_path, lora=True, ema=0.9)
    run.train()
    with run.weights.judged() as model:
        judged = vectors(run.encoder, model)
    raw = vectors(run.encoder, run.model)
    opened = open_modules(tmp_path / f"checkpoint-{STEPS}", "cpu")
    assert torch.equal(vectors(run.encoder, opened), judged)
    assert (judged - raw).abs().max() > 1e-4
    assert (judged - vectors(run.encoder, fresh().sentence_transformer)).abs().max() > 1e-4


def test_a_checkpoint_of_other_weights_is_refused(tmp_path):
    encoder = fresh()
    model = encoder.sentence_transformer
    add_lora(model, LoraConfig(rank=2, alpha=8), seed=0)
    weights = TrainedWeights(model, build_loss("mnrl", {}, model), None)
    with pytest.raises(ArtifactError, match=r"trained\.safetensors: cannot be read"):
        weights.read(tmp_path)
    weights.write(tmp_path)
    (tmp_path / WEIGHTS_FILE).rename(tmp_path / MEAN_FILE)
    (tmp_path / WEIGHTS_FILE).write_bytes(b"half")
    with pytest.raises(ArtifactError, match=r"trained\.safetensors: cannot be read"):
        weights.read(tmp_path)
    (tmp_path / MEAN_FILE).rename(tmp_path / WEIGHTS_FILE)
    assert weights.read(tmp_path) is False
    other = fresh().sentence_transformer
    add_lora(other, LoraConfig(rank=4, alpha=8), seed=0)
    with pytest.raises(ArtifactError, match="holds 48 tensors that are not the 48 being trained"):
        TrainedWeights(other, build_loss("mnrl", {}, other), None).read(tmp_path)
