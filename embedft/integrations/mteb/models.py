"""An encoder under mteb's ``EncoderProtocol``, an index under its ``SearchProtocol``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mteb.models import ModelMeta
from mteb.types import PromptType

from embedft.data import document_text
from embedft.encoder import Encoder, Vectors
from embedft.encoder.folder import BUNDLED
from embedft.errors import ConfigError, DataError
from embedft.index import Index

Batch = Mapping[str, list[str]]
Results = dict[str, dict[str, float]]


class MtebEncoder:
    """An encoder as mteb's tasks ask for one.

    Queries are encoded as queries; documents, and texts of tasks that know neither, as documents. The prompts are those
    of the encoder: instructions that mteb has for a task are not used.
    """

    def __init__(self, encoder: Encoder, *, name: str | None = None) -> None:
        """An encoder, and what mteb calls it.

        Args:
            encoder: of queries and documents.
            name: ``organisation/model``; by default made of the encoder's own name.

        Raises:
            ConfigError: the name has no ``/``.
        """
        self.encoder = encoder
        self.mteb_model_meta = _meta(encoder, name)

    def encode(
        self,
        inputs: Iterable[Batch],
        *,
        prompt_type: PromptType | None = None,
        show_progress_bar: bool = False,
        precision: str | None = None,
        **_: Any,
    ) -> Vectors:
        """Unit vectors, (n, dim) float32.

        Args:
            inputs: batches of mteb's, with ``text``; of documents with ``body`` and maybe ``title``.
            prompt_type: whether they are queries.
            show_progress_bar: on standard error.
            precision: of the vectors; float32 alone.

        Raises:
            ConfigError: another precision is asked for.
        """
        if precision not in (None, "float32"):
            raise ConfigError(f"precision is {precision!r}; vectors are float32.", hint="leave it out.")
        encode = self.encoder.encode_queries if prompt_type == PromptType.query else self.encoder.encode_documents
        return encode(list(_texts(inputs)), show_progress=show_progress_bar)

    def similarity(self, left: Any, right: Any) -> torch.Tensor:
        """Cosines of all with all, (n, m)."""
        first, second = (torch.as_tensor(side) for side in (left, right))
        return first.reshape(-1, first.shape[-1]) @ second.reshape(-1, second.shape[-1]).T

    def similarity_pairwise(self, left: Any, right: Any) -> torch.Tensor:
        """Cosines of each with its own, (n,), in double precision as `evaluate_similarity` has them."""
        first, second = (_unit(torch.as_tensor(side).double()) for side in (left, right))
        return (first * second).sum(-1)


class MtebIndex:
    """An index as mteb's retrieval tasks ask for one.

    A task says how deep it searches (``k_values``, of mteb's own tasks to 1,000), and asks once, where
    `embedft.evaluation.evaluate_through` asks for each cut-off anew: an approximate index asked for 1,000 hits looks
    harder for the first 10 too, and hybrid search cuts its many equal scores elsewhere. `RetrievalTask` takes other
    cut-offs.
    """

    def __init__(
        self,
        index: Index | Encoder,
        *,
        hybrid: bool = False,
        exact: bool = False,
        name: str | None = None,
        **settings: Any,
    ) -> None:
        """An index, or what makes one.

        Args:
            index: of the documents of the task; or an encoder, with which an index is built for each task.
            hybrid: search by vectors and words.
            exact: search every vector.
            name: ``organisation/model``; by default made of the encoder's own name.
            settings: of the index that is built, as for `Index.build`.

        Raises:
            ConfigError: the name has no ``/``, or there are settings for an index that stands.
        """
        encoder = index if isinstance(index, Encoder) else index.encoder
        if settings and isinstance(index, Index):
            raise ConfigError(
                f"the index stands; {', '.join(settings)} cannot be set.", hint="give its encoder instead."
            )
        if isinstance(index, Index):
            how = {"kind": index.manifest["segments"][0]["kind"], "created": index.manifest["created"]}
        else:
            how = settings
        self.mteb_model_meta = _meta(encoder, name, hybrid=hybrid, exact=exact, **how)
        self._source = index
        self._settings = settings
        self._hybrid, self._exact = hybrid, exact
        self._index: Index | None = None
        self._known: set[str] = set()

    def index(self, corpus: Any, **_: Any) -> None:
        """Have an index of ``corpus``, a table of mteb's with the columns id, text and maybe title.

        Raises:
            DataError: the index holds other documents.
        """
        if isinstance(self._source, Encoder):
            documents = _documents(corpus)
            self._index = Index.build(documents, self._source, **self._settings)
            self._known = {document["id"] for document in documents}
            return
        if len(self._source) != len(corpus):
            raise _other_documents(self._source, f"holds {len(self._source)} documents, the task {len(corpus)}")
        self._index, self._known = self._source, set(corpus["id"])

    def search(self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Any] | None = None, **_: Any) -> Results:
        """Query id -> document id -> score, of the ``top_k`` best.

        mteb takes them apart by score alone, and equal ones by id descending; so equal ones are set apart by the least
        step of a float, in the order of their ids, as every evaluation has them.

        Raises:
            ConfigError: the documents are given already, which is no search.
            DataError: nothing is indexed, or the index holds other documents.
        """
        if top_ranked is not None:
            raise ConfigError("the task orders given documents, which no index does.", hint="use MtebEncoder for it.")
        if self._index is None:
            raise DataError("nothing is indexed.", hint="call index first.")
        scores, ids = self._index.rank(list(_queries(queries)), top_k, hybrid=self._hybrid, exact=self._exact)
        found: Results = {}
        for query, values, names in zip(queries["id"], scores.astype(np.float32), ids, strict=True):
            hits = sorted((-value, name) for value, name in zip(values.tolist(), names, strict=True) if name)
            foreign = next((name for _, name in hits if name not in self._known), None)
            if foreign is not None:
                raise _other_documents(self._index, f"finds {foreign!r}, which is not among the task's documents")
            apart = set_apart(-np.array([value for value, _ in hits], np.float32))
            found[query] = dict(zip([name for _, name in hits], apart.tolist(), strict=True))
        return found


def set_apart(scores: Vectors) -> Vectors:
    """The scores, (n,) float32 descending, strictly so: those that tie lowered by as few steps as it takes."""
    # Floats are ordered as their bits are, read as integers with a sign, so that a step is 1.
    bits = scores.view(np.int32).astype(np.int64)
    steps = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    places = np.arange(len(scores))
    steps = np.minimum.accumulate(steps + places) - places
    return np.where(steps < 0, 0x80000000 | -steps, steps).astype(np.uint32).view(np.float32)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    unit: torch.Tensor = vectors / vectors.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return unit


def _texts(inputs: Iterable[Batch]) -> Iterator[str]:
    for batch in inputs:
        if "body" not in batch:
            yield from batch["text"]
            continue
        # mteb cuts white space off a document's text; what the encoder sees is what it sees everywhere else.
        titles: Sequence[str] = batch.get("title") or [""] * len(batch["body"])
        yield from (document_text(title, body) for title, body in zip(titles, batch["body"], strict=True))


def _documents(corpus: Any) -> list[dict[str, str]]:
    titles = corpus["title"] if "title" in corpus.column_names else [""] * len(corpus)
    return [
        {"id": name, "title": title or "", "text": text}
        for name, title, text in zip(corpus["id"], titles, corpus["text"], strict=True)
    ]


def _queries(queries: Any) -> Iterator[str]:
    """Their texts, each with the instruction that a task may give it, as mteb puts them together."""
    instructions = queries["instruction"] if "instruction" in queries.column_names else [None] * len(queries)
    for text, instruction in zip(queries["text"], instructions, strict=True):
        if not isinstance(text, str):
            raise DataError("the queries are conversations; an index is asked with texts.", hint="use MtebEncoder.")
        yield f"{text} {instruction}" if instruction else text


def _other_documents(index: Index, found: str) -> DataError:
    return DataError(f"{index.path}: {found}.", hint="build the index of the documents of the task.")


def _meta(encoder: Encoder, name: str | None, **how: Any) -> Any:
    """What mteb stores results by: name, fingerprint, and how it was run."""
    name = _named(encoder.name) if name is None else name
    if "/" not in name:
        raise ConfigError(f"mteb's name for a model is organisation/model, not {name!r}.", hint="put a / in it.")
    return ModelMeta(
        loader=None,
        name=name,
        revision=encoder.fingerprint,
        release_date=None,
        languages=None,
        n_parameters=None,
        memory_usage_mb=None,
        max_tokens=encoder.max_length,
        embed_dim=encoder.dim,
        license=None,
        open_weights=None,
        public_training_code=None,
        public_training_data=None,
        framework=["PyTorch"],
        similarity_fn_name="cosine",
        use_instructions=any(encoder.prompts.values()),
        training_datasets=None,
        experiment_kwargs={"dtype": str(encoder.dtype).removeprefix("torch."), **how},
    )


def _named(name: str) -> str:
    if name == BUNDLED:
        return "embedft/modernbert-mini"
    path = Path(name)
    if not path.exists() and name.count("/") == 1:
        return name
    # The model of a run is called after the run.
    return f"embedft/{path.resolve().parent.name if path.name == 'model' else path.resolve().name}"
