"""Small indexes, approximate ones of made vectors, and what a search of them must find: for the tests of the index."""

import json
from functools import cache

import numpy as np
import pyarrow as pa

from embedft.index import writing
from embedft.index.settings import Settings

SUBJECTS = ["The old gardener", "A tired nurse", "My neighbour", "The young baker", "Nobody", "Our teacher"]
DEEDS = ["waters the roses", "repairs a bicycle", "writes long letters", "bakes dark bread", "counts the stars"]
TIMES = ["at dawn", "in winter", "on the train", "behind the house", "without a word"]
SENTENCES = [f"{subject} {deed} {time}." for subject in SUBJECTS for deed in DEEDS for time in TIMES]
TOLERANCE = 1e-5


class Vectors:
    """Vectors of texts by one encoder, each computed once."""

    def __init__(self, encoder):
        self.encoder, self.known = encoder, {}

    def of(self, texts, side="document"):
        missing = [text for text in dict.fromkeys(texts) if (side, text) not in self.known]
        if missing:
            encode = self.encoder.encode_documents if side == "document" else self.encoder.encode_queries
            self.known |= {(side, text): vector for text, vector in zip(missing, encode(missing), strict=True)}
        return np.array([self.known[side, text] for text in texts]).reshape(len(texts), self.encoder.dim)


def assert_hits(hits, query, texts, k, vectors):
    """``hits`` are the ``k`` nearest of ``texts`` (id -> text) to the query, whole and in order, by numpy."""
    ids = list(texts)
    cosines = vectors.of(list(texts.values())) @ vectors.of([query], "query")[0]
    assert len(hits) == min(k, len(ids))
    assert len({hit.id for hit in hits}) == len(hits)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines)[::-1][:k], atol=TOLERANCE)
    own = dict(zip(ids, cosines, strict=True))
    for hit in hits:
        assert hit.text == texts[hit.id]
        assert abs(hit.score - own[hit.id]) <= TOLERANCE


def table(texts, metadata=None):
    """Documents of texts (id -> text), with metadata (id -> dictionary) where there are some."""
    rows = [
        {"id": name, "title": "", "text": text, "metadata": json.dumps(metadata[name]) if metadata else None}
        for name, text in texts.items()
    ]
    schema = pa.schema([(name, pa.string()) for name in ("id", "title", "text", "metadata")])
    return pa.Table.from_pylist(rows, schema=schema)


def scattered(encoder, count, seed=0, noise=0.9):
    """Made unit vectors around those of the sentences as queries, so that queries have neighbours: (count, dim)."""
    rng = np.random.default_rng(seed)
    centres = _asked(encoder)[rng.integers(len(SENTENCES), size=count)]
    vectors = centres + noise / np.sqrt(encoder.dim) * rng.standard_normal((count, encoder.dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@cache
def _asked(encoder):
    return encoder.encode_queries(SENTENCES)


def publish_scattered(path, encoder, folder, *, count=2000, seed=0, queries=SENTENCES, force=False, **settings):
    """An index of ``count`` made vectors, tuned on the sentences, and the vectors. Texts are words with a number."""
    vectors = scattered(encoder, count, seed)
    file = folder / f"scattered-{count}-{seed}.npy"
    np.save(file, vectors)
    texts = {f"d{number}": f"number{number} word{number % 50} number{number}" for number in range(count)}
    documents = table(texts, {name: {"parity": number % 2} for number, name in enumerate(texts)})
    asked = (queries, True) if queries else writing.queries_for(documents, encoder.dim, Settings(**settings))
    with writing.writing(path, new=True) as hold:
        writing.publish_base(
            path, hold, documents, encoder, Settings(**settings), file,
            queries=asked, force=force, show_progress=False,
        )  # fmt: skip
    return vectors
