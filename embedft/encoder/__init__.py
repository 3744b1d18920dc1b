"""Text into unit vectors."""

from embedft.encoder.differentiable import embed, pad_batch
from embedft.encoder.encoder import Encoder, Vectors
from embedft.encoder.folder import BUNDLED, BUNDLED_PATH, find_folder, open_modules, write_folder
from embedft.encoder.precision import Precision, fast_bfloat16, resolve_precision
from embedft.encoder.routes import with_layer

__all__ = [
    "BUNDLED",
    "BUNDLED_PATH",
    "Encoder",
    "Precision",
    "Vectors",
    "embed",
    "fast_bfloat16",
    "find_folder",
    "open_modules",
    "pad_batch",
    "resolve_precision",
    "with_layer",
    "write_folder",
]
