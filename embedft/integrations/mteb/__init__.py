"""MTEB: an encoder or an index as mteb's model, and a folder of one's own as mteb's task; needs mteb.

    import mteb

    from embedft import Encoder, Index
    from embedft.integrations.mteb import MtebEncoder, MtebIndex, RetrievalTask, SimilarityTask

    encoder = Encoder.load("RUN/model")
    mteb.evaluate(MtebEncoder(encoder), mteb.get_task("SciFact"))                      # needs the hub
    mteb.evaluate(MtebEncoder(encoder), RetrievalTask("DATA"))                         # a BEIR folder, no network
    mteb.evaluate(MtebIndex(encoder, kind="hnsw"), RetrievalTask("DATA"))              # what search finds of it
    mteb.evaluate(MtebIndex(Index.open("INDEX"), hybrid=True), RetrievalTask("DATA"))  # an index of these documents
    mteb.evaluate(MtebEncoder(encoder), SimilarityTask("PAIRS"))                       # a folder with test.tsv, ...

The figures are those of `embedft.evaluation`, which mteb rounds to five decimals (but MRR). Where scores tie they may
differ: mteb searches for an encoder itself, and orders equal scores by document id descending; an index keeps our
order, ascending. A document whose id is the query's counts like any other, as in mteb's default. mteb's classification
tasks fit a classifier of their own on a few texts a class; `MtebEncoder` runs in them, and there is
nothing of ours that it could equal, so they have no class here.
"""

from embedft.errors import ConfigError

try:
    import mteb as _mteb  # noqa: F401 - to say at once, and in our words, that it is missing
except ImportError as error:
    raise ConfigError(
        "MTEB's tasks need the package mteb, which is missing.", hint="pip install 'embedft[mteb]'."
    ) from error

from embedft.integrations.mteb.models import MtebEncoder, MtebIndex
from embedft.integrations.mteb.tasks import RetrievalTask, SimilarityTask

__all__ = ["MtebEncoder", "MtebIndex", "RetrievalTask", "SimilarityTask"]
