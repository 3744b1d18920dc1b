"""Any order of changes: the index answers as a dictionary with numpy over the encoder's vectors would."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from index_cases import SENTENCES, Vectors, assert_hits

from embedft.encoder import Encoder
from embedft.errors import ArtifactError, DataError
from embedft.index import Index
from embedft.index.storage import rollback, versions
from embedft.index.verifying import verify

NAMES = st.sampled_from([f"d{number}" for number in range(12)])
POOL = [*SENTENCES[::6], "", "a", "Öl & Straße"]
DOCUMENTS = st.dictionaries(NAMES, st.tuples(st.sampled_from(POOL), st.integers(0, 3)), min_size=1, max_size=5)
ASKED = st.sampled_from(["Who bakes bread?", "letters", SENTENCES[6], "on the train"])
DEPTHS = st.sampled_from([1, 3, 20])


class IndexMachine(RuleBasedStateMachine):
    encoder: Encoder
    vectors: Vectors

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="embedft-machine-"))
        self.path = self.folder / "idx"
        # Number of a version -> id -> text and level; those of versions that are gone stay unused.
        self.states = {}
        self.index = None

    def teardown(self):
        shutil.rmtree(self.folder)

    @property
    def number(self):
        return next(version["number"] for version in versions(self.path) if version["current"])

    @property
    def alive(self):
        return self.states[self.number]

    def published(self, state):
        self.states[self.number] = state

    @initialize(documents=DOCUMENTS)
    def build(self, documents):
        self.index = Index.build(rows(documents), self.encoder, self.path)
        self.published(documents)

    @rule(documents=DOCUMENTS)
    def add(self, documents):
        before = self.alive
        change = self.index.add(rows(documents))
        assert change.replaced == len(before.keys() & documents.keys())
        assert change.added == len(documents) - change.replaced
        self.published(before | documents)

    @rule(names=st.lists(NAMES, min_size=1, max_size=4))
    def delete(self, names):
        before = self.alive
        change = self.index.delete(names)
        assert change.deleted == len(before.keys() & set(names))
        assert set(change.missing) == set(names) - before.keys()
        if change.deleted:
            self.published({name: value for name, value in before.items() if name not in names})

    @precondition(lambda self: self.index is not None and self.alive)
    @rule()
    def compact(self):
        before = self.alive
        self.index.compact()
        assert len(self.index.manifest["segments"]) == 1
        self.published(before)

    @rule()
    def reopen(self):
        self.index = Index.open(self.path, self.encoder)

    @rule()
    def roll_back(self):
        older = [version["number"] for version in versions(self.path) if version["number"] < self.number]
        if not older:
            with pytest.raises(ArtifactError):
                rollback(self.path)
            return
        assert rollback(self.path).number == older[-1]
        self.index.refresh()
        assert self.number == older[-1]

    @rule(query=ASKED, k=DEPTHS)
    def search(self, query, k):
        texts = {name: text for name, (text, _) in self.alive.items()}
        assert_hits(self.index.search([query], k)[0], query, texts, k, self.vectors)

    @rule(query=ASKED, k=DEPTHS, level=st.integers(0, 3))
    def search_filtered(self, query, k, level):
        texts = {name: text for name, (text, of_it) in self.alive.items() if of_it >= level}
        try:
            (hits,) = self.index.search([query], k, filter=f"level>={level}")
        except DataError:
            assert not self.alive  # a field that no document has any more
            return
        assert_hits(hits, query, texts, k, self.vectors)
        assert all(hit.metadata == {"level": self.alive[hit.id][1]} for hit in hits)

    @rule(query=ASKED)
    def search_hybrid(self, query):
        (hits,) = self.index.search([query], 20, hybrid=True)
        assert {hit.id: hit.text for hit in hits} == {name: text for name, (text, _) in self.alive.items()}

    @invariant()
    def every_document_is_there_once(self):
        if self.index is not None:
            assert len(self.index) == self.index.manifest["documents"] == len(self.alive)

    @invariant()
    def as_many_versions_stay_as_are_kept(self):
        if self.index is not None:
            assert len(versions(self.path)) <= 2

    @rule()
    def verified(self):
        assert verify(self.path).problems == []


def rows(documents):
    return [{"id": name, "text": text, "level": level} for name, (text, level) in documents.items()]


def run(encoder, examples, steps):
    run_state_machine_as_test(
        type("Machine", (IndexMachine,), {"encoder": encoder, "vectors": Vectors(encoder)}),
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
            # Steps are slow: making a failing example smaller takes minutes.
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_a_few_orders_of_changes(encoder):
    run(encoder, 5, 10)


@pytest.mark.slow
def test_many_orders_of_changes(encoder):
    run(encoder, 40, 30)
