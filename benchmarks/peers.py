"""The systems that ``index.py`` compares, each behind the same few calls.

Only numpy is imported here; a system imports what it needs, and may run in another environment than embedft's.

Settings that are not swept: graphs have 32 links a node (64 in the lowest layer), as FAISS' HNSW32, LanceDB's its own
20; the effort of construction is each library's default (FAISS 40, hnswlib 200, usearch 128, LanceDB 300).
"""

# Methods of the systems say once what they do, in ``System``.
# ruff: noqa: D102

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DIM, K, TARGET = 384, 10, 0.95
LINKS = 32
# Efforts of all systems rise by about a fifth.
EFFORTS = sorted({round(10 * 1.2**step) for step in range(34)})
PROBES = sorted({round(1.2**step) for step in range(40)})
OURS = "embedft"

Point = list[float]


class System:
    """One system; its constructor imports the library, and nothing before it counts as memory of the index.

    Attributes:
        needs_vectors: a search reads the vectors of ``documents.npy`` too.
    """

    needs_vectors = False

    def __init__(self, folder: Path, documents: np.ndarray, threads: int) -> None:
        self.folder, self.documents, self.threads = folder, documents, threads

    def build(self, tuning: np.ndarray) -> dict[str, Any]:
        """Write the index of the documents into the folder; gives what is to be known of it."""
        raise NotImplementedError

    def open(self) -> None:
        """Make a written index ready for searches."""
        raise NotImplementedError

    def lines(self) -> list[list[Point]]:
        """Points that are swept, in lines of rising effort."""
        raise NotImplementedError

    def search(self, queries: np.ndarray, point: Point) -> np.ndarray:
        """Rows of the ``K`` nearest, (queries, K)."""
        raise NotImplementedError


class Faiss(System):
    """FAISS by hand, by a factory string; the point is efSearch or nprobe."""

    def __init__(self, folder: Path, documents: np.ndarray, threads: int, recipe: str) -> None:
        super().__init__(folder, documents, threads)
        import faiss

        faiss.omp_set_num_threads(threads)
        self.faiss, self.recipe = faiss, recipe
        self.lists = int(4 * len(documents) ** 0.5)

    def build(self, tuning: np.ndarray) -> dict[str, Any]:
        recipe = self.recipe.format(lists=self.lists)
        index = self.faiss.index_factory(DIM, recipe, self.faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(self.documents)
        index.add(self.documents)
        self.faiss.write_index(index, str(self.folder / "index.faiss"))
        return {"factory": recipe}

    def open(self) -> None:
        self.index = self.faiss.read_index(str(self.folder / "index.faiss"))

    def lines(self) -> list[list[Point]]:
        if "IVF" in self.recipe:
            return [[[effort] for effort in PROBES if effort < self.lists] + [[self.lists]]]
        return [[[effort] for effort in EFFORTS]] if "HNSW" in self.recipe else [[[]]]

    def search(self, queries: np.ndarray, point: Point) -> np.ndarray:
        parameters = None
        if "IVF" in self.recipe:
            parameters = self.faiss.SearchParametersIVF(nprobe=point[0])
        elif "HNSW" in self.recipe:
            parameters = self.faiss.SearchParametersHNSW(efSearch=point[0])
        return self.index.search(queries, K, params=parameters)[1]


class Usearch(System):
    """usearch with vectors of one type; the point is the expansion in search."""

    def __init__(self, folder: Path, documents: np.ndarray, threads: int, dtype: str) -> None:
        super().__init__(folder, documents, threads)
        from usearch.index import Index

        # As usearch advises for i8, whose codes have no fixed length.
        metric = "cos" if dtype == "i8" else "ip"
        self.index = Index(ndim=DIM, metric=metric, dtype=dtype, connectivity=LINKS)

    def build(self, tuning: np.ndarray) -> dict[str, Any]:
        self.index.add(np.arange(len(self.documents)), self.documents, threads=self.threads)
        self.index.save(str(self.folder / "index.usearch"))
        return {}

    def open(self) -> None:
        self.index.load(str(self.folder / "index.usearch"))

    def lines(self) -> list[list[Point]]:
        return [[[effort] for effort in EFFORTS]]

    def search(self, queries: np.ndarray, point: Point) -> np.ndarray:
        self.index.expansion_search = point[0]
        found = self.index.search(queries, K, threads=self.threads)
        return found.keys.astype(np.int64).reshape(len(queries), -1)


class Hnswlib(System):
    """hnswlib; the point is ef."""

    def __init__(self, folder: Path, documents: np.ndarray, threads: int) -> None:
        super().__init__(folder, documents, threads)
        import hnswlib

        self.index = hnswlib.Index(space="ip", dim=DIM)

    def build(self, tuning: np.ndarray) -> dict[str, Any]:
        self.index.init_index(max_elements=len(self.documents), M=LINKS, ef_construction=200)
        self.index.add_items(self.documents, num_threads=self.threads)
        self.index.save_index(str(self.folder / "index.hnswlib"))
        return {}

    def open(self) -> None:
        self.index.load_index(str(self.folder / "index.hnswlib"))

    def lines(self) -> list[list[Point]]:
        return [[[effort] for effort in EFFORTS]]

    def search(self, queries: np.ndarray, point: Point) -> np.ndarray:
        self.index.set_ef(point[0])
        return self.index.knn_query(queries, k=K, num_threads=self.threads)[0].astype(np.int64)


class Lancedb(System):
    """LanceDB; the point is (probes, ef or 0, refine factor or 0)."""

    def __init__(self, folder: Path, documents: np.ndarray, threads: int, kind: str) -> None:
        super().__init__(folder, documents, threads)
        import lancedb

        self.kind, self.database = kind, lancedb.connect(str(folder))

    def build(self, tuning: np.ndarray) -> dict[str, Any]:
        import pyarrow as pa
        from lancedb.index import HnswSq, IvfPq

        vectors = pa.FixedSizeListArray.from_arrays(pa.array(self.documents.reshape(-1)), DIM)
        table = self.database.create_table("documents", pa.table({"row": np.arange(len(vectors)), "vector": vectors}))
        partitions = int(len(vectors) ** 0.5)
        settings = {
            "IVF_PQ": lambda: IvfPq(distance_type="dot", num_partitions=partitions, num_sub_vectors=DIM // 8),
            "IVF_HNSW_SQ": lambda: HnswSq(distance_type="dot", num_partitions=1),
        }
        table.create_index("vector", config=settings[self.kind]())
        return {"partitions": partitions if self.kind == "IVF_PQ" else 1}

    def open(self) -> None:
        self.table = self.database.open_table("documents")

    def lines(self) -> list[list[Point]]:
        if self.kind == "IVF_HNSW_SQ":
            return [[[1, effort, refine] for effort in EFFORTS if effort >= K * max(refine, 1)] for refine in (0, 2, 4)]
        partitions = int(len(self.documents) ** 0.5)
        probes = [effort for effort in PROBES if effort <= partitions]
        return [[[effort, 0, refine] for effort in probes] for refine in (2, 4, 8, 16, 32)]

    def search(self, queries: np.ndarray, point: Point) -> np.ndarray:
        probes, effort, refine = point
        asked = self.table.search(queries if len(queries) > 1 else queries[0], vector_column_name="vector")
        asked = asked.distance_type("dot").nprobes(probes).limit(K).select(["row", "_distance"])
        asked = asked.ef(effort) if effort else asked
        found = (asked.refine_factor(refine) if refine else asked).to_arrow()
        rows = np.full((len(queries), K), -1, np.int64)
        numbers = found["query_index"].to_numpy() if len(queries) > 1 else np.zeros(len(found), np.int64)
        order = np.argsort(numbers, kind="stable")
        counts = np.bincount(numbers, minlength=len(queries))
        places = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows[numbers[order], places] = found["row"].to_numpy()[order]
        return rows


class Embedft(System):
    """A kind of index of embedft, or ``auto``; the point is (effort, factor)."""

    needs_vectors = True

    def __init__(self, folder: Path, documents: np.ndarray, threads: int, kind: str) -> None:
        super().__init__(folder, documents, threads)
        import faiss  # noqa: F401  its memory is not that of an index

        from embedft.index import approximate, base, exact, settings

        self.approximate, self.exact = approximate, exact
        self.base, self.settings = base, settings
        self.kind, self.point = kind, None
        approximate.set_threads(threads)

    @property
    def notes(self) -> Path:
        """What the build decided."""
        return self.folder / "notes.json"

    def build(self, tuning: np.ndarray) -> dict[str, Any]:
        kind, point, stated = self.kind, None, None
        if kind == "auto":
            settings = self.settings.Settings(recall=TARGET, k=K)
            stage, kind, tuned = self.base.fit_stage(self.documents, tuning, settings)
            if tuned is not None and tuned.chosen is not None:
                point = [tuned.chosen.point.effort, tuned.chosen.point.factor]
                stated = tuned.chosen.ci_low
        else:
            stage = None if kind == "flat" else self.approximate.Stage.build(kind, self.documents)
        if stage is not None:
            stage.save(self.folder / "index.faiss")
        notes = {"kind": kind, "point": point, "stated_recall": stated}
        self.notes.write_text(json.dumps(notes))
        return notes

    def open(self) -> None:
        notes = json.loads(self.notes.read_text())
        self.kind, self.point, self.stage = notes["kind"], notes["point"], None
        if self.kind != "flat":
            size = len(self.documents)
            path = self.folder / "index.faiss"
            self.stage = self.approximate.Stage.open(self.kind, path, size=size, dim=DIM)

    def lines(self) -> list[list[Point]]:
        if self.point is not None:
            return [[self.point]]
        made = self.approximate.KINDS[self.kind]
        if made is None:
            return [[[]]]
        if made.dial is None:
            return [[[0, factor] for factor in made.factors]]
        efforts = EFFORTS if made.dial == "efSearch" else PROBES
        least = K if made.dial == "efSearch" else 0
        return [[[effort, factor] for effort in efforts if effort >= factor * least] for factor in made.factors]

    def search(self, queries: np.ndarray, point: Point) -> np.ndarray:
        if self.stage is None:
            with self.approximate.faiss_threads(self.exact.useful_threads(len(queries), len(self.documents))):
                return self.exact.exact_search(queries, self.documents, K)[1]
        at = self.approximate.Point(*point)
        return self.approximate.approximate_search(self.stage, self.documents, queries, K, at)[1]


PEERS: dict[str, tuple[type[System], tuple[str, ...]]] = {
    "FAISS flat": (Faiss, ("Flat",)),
    "FAISS HNSW32": (Faiss, ("HNSW32,Flat",)),
    "FAISS IVF": (Faiss, ("IVF{lists},Flat",)),
    "usearch f32": (Usearch, ("f32",)),
    "usearch i8": (Usearch, ("i8",)),
    "hnswlib": (Hnswlib, ()),
    "LanceDB IVF_PQ": (Lancedb, ("IVF_PQ",)),
    "LanceDB IVF_HNSW_SQ": (Lancedb, ("IVF_HNSW_SQ",)),
}


def system(name: str, folder: Path, documents: np.ndarray, threads: int) -> System:
    """The system of that name: of ``PEERS``, or ``embedft`` and ``auto`` or a kind of index.

    Raises:
        ImportError: its library is not installed.
    """
    if name.startswith(OURS):
        return Embedft(folder, documents, threads, name.removeprefix(OURS).strip())
    made, arguments = PEERS[name]
    return made(folder, documents, threads, *arguments)
