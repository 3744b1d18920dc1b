"""Train a classifier on embeddings: a logistic head on the frozen encoder, or encoder and head together.

python recipes/classification.py DATA -o RUN [--model bundled] [--end-to-end [--quick]]

DATA is a file or a folder (train, dev, test) with the columns text and label. The head alone takes seconds and is often
good enough; --end-to-end trains the encoder as well, and is compared with such a head.
"""

import argparse
from pathlib import Path

from embedft import RunConfig, train
from embedft.errors import EmbedftError
from embedft.reports.run import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", help="file or folder of labelled texts, or hub name")
parser.add_argument("-o", "--output", type=Path, required=True, help="directory of the run")
parser.add_argument("--model", default="bundled", help="encoder to start from: folder, hub name, or 'bundled'")
parser.add_argument("--quick", action="store_true", help="with --end-to-end: 20 steps, to see that all works")
parser.add_argument("--end-to-end", action="store_true", help="train the encoder together with its head")


def main() -> None:
    """Run the recipe."""
    options = parser.parse_args()
    settings = {"task": "classification", "data": {"path": options.data}, "model": {"name": options.model}}
    if options.end_to_end:
        settings["head"] = {"kind": "linear"}
        settings["training"] = {"max_steps": 20} if options.quick else {}
    result = train(RunConfig.model_validate(settings), options.output, show_progress=True)
    print(f"evidence on a page: {write_report(result.run)}")
    for name, found in result.comparison.items():
        before, after = result.against.metrics[name], result.evaluation.metrics[name]
        print(f"{name}: {before:.4f} -> {after:.4f} ({found.verdict}, p {found.p_value:.4f})")


if __name__ == "__main__":
    try:
        main()
    except EmbedftError as error:
        raise SystemExit(f"error: {error}") from None
