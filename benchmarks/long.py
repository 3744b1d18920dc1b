"""Long texts: seconds a token against the length, 512 to 8,192 tokens, flat stream against padded SDPA.

The padded path is transformers' own forward of the same random ModernBERT (bundled size) on the same text, in the same
precision, as sentence-transformers runs it. ``local layer`` is the attention of a layer with a sliding window alone, on
random states: what a token costs there should not depend on the length of its text.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from environment import summary, write_result
from models import random_modernbert
from sentence_transformers import SentenceTransformer
from texts import docstrings

from embedft.encoder import Encoder, fast_bfloat16
from embedft.encoder.attention import attend
from embedft.encoder.layout import Layout

LENGTHS = (512, 1024, 2048, 4096, 8192)
TOKENS = 8192
SIZES = {"hidden_size": 384, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 12}


def clock(function: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each round after one that is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def local_layer_seconds(length: int, dtype: torch.dtype, rounds: int) -> float:
    """Seconds a token of the attention of one local layer, window 64 to each side."""
    layout = Layout((length,) * (TOKENS // length))
    stream = [torch.randn(TOKENS, 12, 32, dtype=dtype) for _ in range(3)]
    with torch.inference_mode():
        return statistics.median(clock(lambda: attend(*stream, layout, window=64), rounds)) / TOKENS


def main() -> None:
    """Measure, print, write ``results/long.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    words = " ".join(docstrings(600)).split()
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if fast_bfloat16("cpu") else {})
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = random_modernbert(Path(folder) / "long", max_length=max(LENGTHS), **SIZES)
        for kind, dtype in kinds.items():
            precision = "float32" if kind == "fp32" else "bfloat16"
            for length in LENGTHS:
                encoder = Encoder.load(model, max_length=length, precision=precision)
                peer = SentenceTransformer(str(model), device="cpu", model_kwargs={"dtype": torch.float32}).to(dtype)
                peer.max_seq_length = length
                texts = [" ".join(words[start : start + length]) for start in range(TOKENS // length)]
                padded = clock(lambda peer=peer, texts=texts: peer.encode(texts, batch_size=4), options.rounds)
                flat = clock(lambda encoder=encoder, texts=texts: encoder.encode(texts), options.rounds)
                row = {
                    "padded": summary(padded),
                    "flat": summary(flat),
                    "times_padded": statistics.median(padded) / statistics.median(flat),
                    "microseconds_a_token": 1e6 * statistics.median(flat) / TOKENS,
                    "local_layer_microseconds_a_token": 1e6 * local_layer_seconds(length, dtype, 2 * options.rounds),
                }
                results.setdefault(kind, {})[str(length)] = row
                times = f"padded {row['padded']['median']:.2f} s, flat {row['flat']['median']:.2f} s"
                costs = f"{row['microseconds_a_token']:.1f} us a token"
                local = f"local layer {row['local_layer_microseconds_a_token']:.2f} us a token"
                print(f"{kind} {length:5} tokens: {times}, {row['times_padded']:.2f} x, {costs}, {local}", flush=True)
            ratio = (
                results[kind]["8192"]["local_layer_microseconds_a_token"]
                / results[kind]["1024"]["local_layer_microseconds_a_token"]
            )
            print(f"{kind} local layer, a token at 8,192 against 1,024: {ratio:.2f} x")
    if not options.dry:
        write_result("long", {"peer": "padded SDPA", "tokens": TOKENS, "sizes": SIZES, "results": results})


if __name__ == "__main__":
    main()
