"""Fine-tune an encoder on documents that nobody has labelled: pairs are read out of the documents themselves.

python recipes/unlabelled_documents.py DOCUMENTS -o RUN [--judge DATA] [--model bundled] [--quick]

DOCUMENTS is a corpus file, or a folder of PDF, HTML, Markdown, text and Python files. The run is judged on pairs that
were held out, or, better, on a few labelled queries of yours: --judge names a BEIR folder with a split test.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from embedft import Encoder, RunConfig, compare, evaluate_retrieval, train
from embedft.artifacts import atomic_file, require_free
from embedft.data import document_text, read_retrieval
from embedft.data.corpus import read_documents
from embedft.data.derive import as_rows, derive, drop_repeated, round_trip
from embedft.errors import DataError, EmbedftError
from embedft.index.exact import rank_of
from embedft.reports.run import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("documents", help="corpus file, or folder of documents")
parser.add_argument("-o", "--output", type=Path, required=True, help="directory of the pairs and of the run")
parser.add_argument("--judge", help="BEIR folder of labelled queries, for the last word")
parser.add_argument("--model", default="bundled", help="encoder to start from: folder, hub name, or 'bundled'")
parser.add_argument("--quick", action="store_true", help="20 steps, to see that all works")


def main() -> None:
    """Run the recipe."""
    options = parser.parse_args()
    require_free(options.output / "run")
    base = Encoder.load(options.model)
    pairs = make_pairs(options.documents, base, options.output)
    training = {"max_steps": 20} if options.quick else {}
    config = RunConfig.model_validate({"data": {"path": pairs}, "model": {"name": options.model}, "training": training})
    result = train(config, options.output / "run", show_progress=True)
    print(f"evidence on a page: {write_report(result.run)}")
    after, before, comparison = result.evaluation, result.against, result.comparison
    if options.judge:
        data = read_retrieval(options.judge)
        tuned = Encoder.load(options.output / "run" / "model")
        after, before = (evaluate_retrieval(encoder, data, show_progress=True) for encoder in (tuned, base))
        comparison = compare(after, before)
    for name, found in comparison.items():
        print(
            f"{name}: {before.metrics[name]:.4f} -> {after.metrics[name]:.4f} ({found.verdict}, p {found.p_value:.4f})"
        )


def make_pairs(source: str, encoder: Encoder, output: Path) -> Path:
    """A file of pairs whose document the encoder itself finds among the first hundred."""
    documents = read_documents(Path(source))
    made, report = derive(documents, ["title", "heading", "first", "docstring", "faq"])
    made = drop_repeated(made, report)
    vectors = encoder.encode_documents([document_text(d.title, d.text) for d in documents], show_progress=True)
    queries = encoder.encode_queries([pair.anchor for pair in made], show_progress=True)
    row_of = {document.id: row for row, document in enumerate(documents)}
    ranks = rank_of(queries, vectors, np.array([row_of[pair.document] for pair in made]))
    kept = round_trip(made, ranks, report, top_k=100)
    if not kept:
        raise DataError(
            f"{source}: {len(documents)} documents gave no pair.",
            hint="add titles or headings, or let a language model write questions: embedft data pairs --endpoint.",
        )
    print(f"{len(kept)} pairs out of {len(documents)} documents")
    output.mkdir(parents=True, exist_ok=True)
    path = output / "pairs.jsonl"
    with atomic_file(path) as file:
        file.writelines((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in as_rows(kept))
    return path


if __name__ == "__main__":
    try:
        main()
    except EmbedftError as error:
        raise SystemExit(f"error: {error}") from None
