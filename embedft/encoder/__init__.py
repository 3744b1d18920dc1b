"""Text into unit vectors."""

from embedft.encoder.attention import float32_attention
from embedft.encoder.batching import embed_in_chunks, pad_batch
from embedft.encoder.encoder import Encoder, Vectors
from embedft.encoder.folder import BUNDLED, BUNDLED_PATH, open_folder, write_folder
from embedft.encoder.precision import Precision, fast_bfloat16, resolve_precision

__all__ = [
    "BUNDLED",
    "BUNDLED_PATH",
    "Encoder",
    "Precision",
    "Vectors",
    "embed_in_chunks",
    "fast_bfloat16",
    "float32_attention",
    "open_folder",
    "pad_batch",
    "resolve_precision",
    "write_folder",
]
