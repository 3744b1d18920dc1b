"""Other runtimes as peers of the encode benchmark: the same weights exported to ONNX Runtime and OpenVINO.

Both get what favours them: texts sorted by tokens, batches padded to a token budget, mean pooling on their output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embedft.encoder.layout import pack

BUDGET = 2048
Encode = Callable[[Sequence[str]], np.ndarray]


class _States(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def export(model: SentenceTransformer, path: Path) -> Path:
    """The transformer as an ONNX file with free batch and length."""
    ids = torch.ones((2, 16), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "states")}
    torch.onnx.export(
        _States(model[0].model.eval()), (ids, ids), str(path), input_names=["input_ids", "attention_mask"],
        output_names=["states"], dynamic_axes=axes, dynamo=False, opset_version=17,
    )  # fmt: skip
    return path


def onnxruntime(model: SentenceTransformer, path: Path, threads: int) -> Encode:
    """fp32 on ONNX Runtime's CPU provider."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return _padded(model, lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0])


def openvino(model: SentenceTransformer, path: Path, threads: int, precision: str) -> Encode:
    """``f32`` or ``bf16`` on OpenVINO's CPU plugin."""
    import openvino as ov

    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    return _padded(model, lambda ids, mask: request.infer({"input_ids": ids, "attention_mask": mask})[0])


def _padded(model: SentenceTransformer, states: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Encode:
    def encode(texts: Sequence[str]) -> np.ndarray:
        rows = model.tokenizer(list(texts), truncation=True, max_length=model.max_seq_length, padding=False)[
            "input_ids"
        ]
        vectors = np.empty((len(rows), model.get_embedding_dimension()), dtype=np.float32)
        for batch in pack([len(row) for row in rows], BUDGET, padded=True):
            longest = max(len(rows[index]) for index in batch)
            ids = np.zeros((len(batch), longest), dtype=np.int64)
            mask = np.zeros_like(ids)
            for place, index in enumerate(batch):
                ids[place, : len(rows[index])] = rows[index]
                mask[place, : len(rows[index])] = 1
            found = states(ids, mask) * mask[..., None]
            pooled = found.sum(axis=1) / mask.sum(axis=1, keepdims=True)
            vectors[batch] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors

    return encode
