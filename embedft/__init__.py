"""embedft fine-tunes a bi-encoder, proves the gain, and takes it to use.

``import embedft`` is light: the names below load their room (and with it torch) on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedft.config import RunConfig
    from embedft.data import RetrievalData
    from embedft.encoder import Encoder
    from embedft.errors import EmbedftError
    from embedft.evaluation import compare, evaluate_retrieval
    from embedft.index import Hit, Index
    from embedft.integrations.scikit_learn import EmbeddingClassifier
    from embedft.training import train

__version__ = "0.1.0"

_HOMES = {
    "EmbedftError": "embedft.errors",
    "EmbeddingClassifier": "embedft.integrations.scikit_learn",
    "Encoder": "embedft.encoder",
    "Hit": "embedft.index",
    "Index": "embedft.index",
    "RetrievalData": "embedft.data",
    "RunConfig": "embedft.config",
    "compare": "embedft.evaluation",
    "evaluate_retrieval": "embedft.evaluation",
    "train": "embedft.training",
}

__all__ = [
    "EmbeddingClassifier",
    "EmbedftError",
    "Encoder",
    "Hit",
    "Index",
    "RetrievalData",
    "RunConfig",
    "__version__",
    "compare",
    "evaluate_retrieval",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'embedft' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
