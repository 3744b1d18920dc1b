"""Search through a stage: exact scores of what it finds, and filters that lose nothing."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import ArtifactError, DataError
from embedft.index import exact_search
from embedft.index.approximate import KINDS, Point, Stage, approximate_search, recall_of

STAGES = [name for name, kind in KINDS.items() if kind is not None]
SIZE, DIM, CENTRES = 3000, 64, 30
# Of each kind a point at which it finds most.
GOOD = {"hnsw": Point(64, 1), "hnsw-fp16": Point(64, 1), "hnsw-sq8": Point(64, 4), "ivf-sq8": Point(16, 4)}
GOOD |= {"ivf-pq": Point(16, 32), "ivf-rabitq": Point(16, 32), "truncated": Point(64, 32), "binary": Point(0, 32)}
# A point at which nothing is left out: every list or node, and every vector a candidate.
ALL = Point(SIZE, SIZE)


pytestmark = pytest.mark.usefixtures("one_thread")


def unit(rng, rows, dim=DIM):
    centres = np.random.default_rng(7).normal(size=(CENTRES, dim))
    vectors = centres[rng.integers(CENTRES, size=rows)] + rng.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@cache
def vectors_and_queries():
    rng = np.random.default_rng(0)
    vectors = unit(rng, SIZE)
    vectors[10:14] = vectors[9]  # ties
    return vectors, np.concatenate([unit(rng, 60), vectors[9:10]])


@cache
def built(kind):
    return Stage.build(kind, vectors_and_queries()[0])


@pytest.fixture(params=STAGES)
def stage(request):
    return built(request.param)


def assert_same_hits(found, expected, vectors, queries):
    """Equal scores, and equal rows but for those whose scores sums in another order would swap."""
    np.testing.assert_allclose(found[0], expected[0], atol=2e-6)
    differing = found[1] != expected[1]
    np.testing.assert_allclose(found[0][differing], expected[0][differing], atol=2e-6)


def test_most_of_the_exact_hits_are_found(stage):
    vectors, queries = vectors_and_queries()
    scores, _ = approximate_search(stage, vectors, queries, 10, GOOD[stage.kind])
    assert recall_of(scores, exact_search(queries, vectors, 10)[0]).mean() > 0.95


def test_scores_are_the_cosines_of_the_hits_best_first_ties_by_row(stage):
    vectors, queries = vectors_and_queries()
    scores, rows = approximate_search(stage, vectors, queries, 10, GOOD[stage.kind])
    np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", vectors[rows], queries), atol=1e-6)
    assert (np.diff(scores) <= 0).all()
    assert (np.diff(rows)[np.diff(scores) == 0] > 0).all()
    assert all(len(set(hits)) == 10 for hits in rows.tolist())
    assert rows[-1, :5].tolist() == [9, 10, 11, 12, 13]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(STAGES), st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([0.0, 0.001, 0.02, 0.4, 1.0])
)
def test_with_all_effort_it_equals_exact_search_under_any_filter(kind, seed, k, share):
    vectors, queries = vectors_and_queries()
    queries = queries[:8]
    allowed = np.random.default_rng(seed).random(SIZE) < share
    found = approximate_search(built(kind), vectors, queries, k, ALL, allowed, exact_rows=0)
    expected = exact_search(queries, vectors, k, allowed)
    assert_same_hits(found, expected, vectors, queries)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(STAGES), st.integers(0, 10**6), st.integers(1, 60), st.floats(0, 1), st.sampled_from([0, 500, SIZE])
)
def test_a_filter_is_kept_and_leaves_no_gap_while_there_are_allowed_rows(kind, seed, k, share, exact_rows):
    vectors, queries = vectors_and_queries()
    allowed = np.random.default_rng(seed).random(SIZE) < share
    scores, rows = approximate_search(
        built(kind), vectors, queries, k, Point(1, 1), allowed, exact_rows=exact_rows
    )  # the least effort there is
    assert scores.shape == rows.shape == (len(queries), k)
    hits = min(k, int(allowed.sum()))
    assert (rows[:, :hits] >= 0).all()
    assert (rows[:, hits:] == -1).all()
    assert np.isneginf(scores[:, hits:]).all()
    assert allowed[rows[:, :hits]].all()


@pytest.mark.parametrize("where", ["far", "near", "anywhere"])
def test_recall_under_a_filter_does_not_fall_wherever_the_allowed_rows_are(stage, where):
    vectors, queries = vectors_and_queries()
    axis = np.random.default_rng(7).normal(size=DIM).astype(np.float32)
    along = vectors @ axis
    order = np.argsort(-along)
    allowed = np.zeros(SIZE, bool)
    allowed[np.random.default_rng(1).permutation(SIZE)[:900] if where == "anywhere" else order[:900]] = True
    toward = np.argsort(queries @ axis)
    asked = queries[toward[-20:] if where == "near" else toward[:20]]
    scores, _ = approximate_search(stage, vectors, asked, 10, GOOD[stage.kind], allowed, exact_rows=0)
    assert recall_of(scores, exact_search(asked, vectors, 10, allowed)[0]).mean() > 0.9


def test_a_filter_that_leaves_few_rows_is_searched_exactly(stage):
    vectors, queries = vectors_and_queries()
    allowed = np.arange(SIZE) % 3 == 0
    found = approximate_search(stage, vectors, queries, 10, Point(1, 1), allowed)
    assert_same_hits(found, exact_search(queries, vectors, 10, allowed), vectors, queries)


def test_the_stage_itself_proposes_only_allowed_rows(stage):
    _, queries = vectors_and_queries()
    allowed = np.arange(SIZE) % 2 == 1
    scores, rows = stage.search(queries, 50, GOOD[stage.kind], allowed)
    assert scores.shape == rows.shape == (len(queries), 50)
    assert (rows[rows >= 0] % 2 == 1).all()
    assert np.isneginf(scores[rows < 0]).all()


def test_saved_and_opened_it_finds_the_same(stage, tmp_path):
    _, queries = vectors_and_queries()
    stage.save(tmp_path / "stage")
    opened = Stage.open(stage.kind, tmp_path / "stage", size=SIZE, dim=DIM)
    for mine, theirs in zip(
        stage.search(queries, 20, GOOD[stage.kind]), opened.search(queries, 20, GOOD[stage.kind]), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_memory_mapped_vectors_give_the_same_stage_and_hits(stage, tmp_path):
    vectors, queries = vectors_and_queries()
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    again = Stage.build(stage.kind, mapped, threads=1)
    once = Stage.build(stage.kind, vectors, threads=1)
    found = approximate_search(again, mapped, queries, 10, GOOD[stage.kind])
    for mine, theirs in zip(
        found, approximate_search(once, vectors, queries, 10, GOOD[stage.kind]), strict=True
    ):  # one seed, one thread: one stage
        np.testing.assert_array_equal(mine, theirs)


def test_a_query_alone_finds_what_it_finds_among_others_and_from_many_threads(stage):
    vectors, queries = vectors_and_queries()
    allowed = np.random.default_rng(2).random(SIZE) < 0.5

    def alone(row):
        return approximate_search(
            stage, vectors, queries[row : row + 1], 10, GOOD[stage.kind], allowed if row % 2 else None, exact_rows=0
        )[1]

    plain = approximate_search(stage, vectors, queries, 10, GOOD[stage.kind])[1]
    filtered = approximate_search(stage, vectors, queries, 10, GOOD[stage.kind], allowed, exact_rows=0)[1]
    with ThreadPoolExecutor(8) as pool:
        for row, hits in enumerate(pool.map(alone, range(len(queries)))):
            np.testing.assert_array_equal(hits[0], (filtered if row % 2 else plain)[row])


def test_building_tells_how_many_vectors_were_added(tmp_path):
    added = []
    Stage.build("ivf-sq8", unit(np.random.default_rng(1), 9000, 8), done=added.append)
    assert sum(added) == 9000
    assert len(added) > 1


def test_few_vectors_give_a_stage_and_fewer_an_error(stage):
    vectors, queries = vectors_and_queries()
    few = Stage.build(stage.kind, vectors[:16])
    found = approximate_search(few, vectors[:16], queries, 20, Point(16, 20))
    assert (found[1][:, :16] >= 0).all()
    assert (found[1][:, 16:] == -1).all()
    with pytest.raises(DataError, match=f"15 vectors are too few for an index of kind '{stage.kind}'"):
        Stage.build(stage.kind, vectors[:15])


def test_a_truncated_file_is_refused_by_name(stage, tmp_path):
    path = tmp_path / "index.faiss"
    stage.save(path)
    whole = path.read_bytes()
    # Mapping the last list, FAISS rounds a cut within its last number of 8 bytes up; sizes are checked before it reads.
    for length in (0, 3, 40, len(whole) // 2, len(whole) - 8):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"index\.faiss: FAISS cannot read it"):
            Stage.open(stage.kind, path, size=SIZE, dim=DIM)


def test_the_file_of_another_index_is_refused_by_what_differs(stage, tmp_path):
    path = tmp_path / "index.faiss"
    stage.save(path)
    with pytest.raises(ArtifactError, match=f"vectors {SIZE} instead of {SIZE + 1}"):
        Stage.open(stage.kind, path, size=SIZE + 1, dim=DIM)
    with pytest.raises(ArtifactError, match=r"dimensions .* instead of"):
        Stage.open(stage.kind, path, size=SIZE, dim=DIM * 4)
    for other in set(STAGES) - {stage.kind}:
        with pytest.raises(ArtifactError, match=r"index\.faiss"):
            Stage.open(other, path, size=SIZE, dim=DIM)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing\.faiss: is missing"):
        Stage.open("hnsw", tmp_path / "nothing.faiss", size=SIZE, dim=DIM)


FLIPPED = """
import sys, pathlib, random
from embedft.errors import ArtifactError
from embedft.index.approximate import Stage
kind, path = sys.argv[1], pathlib.Path(sys.argv[2])
whole, rng = path.read_bytes(), random.Random(0)
for position in [*range(0, 100, 3), *(rng.randrange(len(whole)) for _ in range(40))]:
    damaged = bytearray(whole)
    damaged[position] ^= 0xFF
    path.write_bytes(damaged)
    try:
        Stage.open(kind, path, size=3000, dim=64)
    except ArtifactError:
        pass
print("alive")
"""


@pytest.mark.parametrize("kind", ["hnsw-sq8", "ivf-pq", "binary"])
def test_flipped_bytes_end_in_a_named_error_or_in_an_index_never_in_a_crash(kind, tmp_path):
    built(kind).save(tmp_path / "index.faiss")
    result = subprocess.run(
        [sys.executable, "-c", FLIPPED, kind, str(tmp_path / "index.faiss")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "alive\n", result.stderr[-2000:]


def test_vectors_of_another_index_and_odd_queries_are_refused():
    vectors, queries = vectors_and_queries()
    stage = built("hnsw")
    with pytest.raises(DataError, match=r"vectors are \(2999, 64\); the index is of 3000"):
        approximate_search(stage, vectors[1:], queries, 10, Point(16, 1))
    with pytest.raises(DataError, match=r"queries are \(61, 63\)"):
        approximate_search(stage, vectors, queries[:, 1:], 10, Point(16, 1))
    with pytest.raises(DataError, match="k is 0"):
        approximate_search(stage, vectors, queries, 0, Point(16, 1))
    with pytest.raises(DataError, match=r"flags \(5,\)"):
        approximate_search(stage, vectors, queries, 1, Point(16, 1), np.ones(5, bool))


def test_no_query_gives_an_empty_answer(stage):
    vectors, queries = vectors_and_queries()
    scores, rows = approximate_search(stage, vectors, queries[:0], 7, GOOD[stage.kind])
    assert scores.shape == rows.shape == (0, 7)
