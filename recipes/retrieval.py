"""Fine-tune an encoder for retrieval, see whether it is better, and search with it.

python recipes/retrieval.py DATA -o RUN [--model bundled] [--quick]

DATA is a BEIR folder, or a file or folder of pairs (columns anchor, positive).
"""

import argparse
from pathlib import Path

from embedft import Encoder, Index, RunConfig, train
from embedft.data import read_retrieval
from embedft.errors import EmbedftError
from embedft.reports.run import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("-o", "--output", type=Path, required=True)
parser.add_argument("--model", default="bundled")
parser.add_argument("--quick", action="store_true", help="20 steps, to see that all works")


def main() -> None:
    """Run the recipe."""
    options = parser.parse_args()
    training = {"max_steps": 20} if options.quick else {}
    config = RunConfig.model_validate(
        {"data": {"path": options.data}, "model": {"name": options.model}, "training": training}
    )
    result = train(config, options.output, show_progress=True)
    print(f"evidence on a page: {write_report(result.run)}")
    for name, found in result.comparison.items():
        before, after = result.against.metrics[name], result.evaluation.metrics[name]
        print(f"{name}: {before:.4f} -> {after:.4f} ({found.verdict}, p {found.p_value:.4f})")

    encoder = Encoder.load(options.output / "model")
    data = read_retrieval(options.data)
    index = Index.build(data.corpus, encoder, options.output / "index", show_progress=True)
    # One of those that the run was judged on; where it held out a dev split, the data as read has none.
    texts = dict(zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True))
    query = texts[result.evaluation.query_ids[0]]
    print(query)
    for hit in index.search([query], k=3)[0]:
        print(f"  {hit.score:.3f}  {hit.id}  {hit.text[:80]}")


if __name__ == "__main__":
    try:
        main()
    except EmbedftError as error:
        raise SystemExit(f"error: {error}") from None
