"""Fine-tune an encoder to find the passage that answers a question, with mined hard negatives.

python recipes/qa_retrieval.py DATA -o RUN [--model bundled] [--quick]

DATA is a BEIR folder (passages, questions, judgments), or a file or folder of pairs (columns question, answer). Each
question gets the nearest passages that are no answer as negatives; what is as near as the answer itself is left out,
because it probably is one that nobody has judged.
"""

import argparse
from pathlib import Path

from embedft import RunConfig, train
from embedft.errors import EmbedftError
from embedft.reports.run import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", help="BEIR folder, file or folder of pairs")
parser.add_argument("-o", "--output", type=Path, required=True, help="directory of the run")
parser.add_argument("--model", default="bundled", help="encoder to start from: folder, hub name, or 'bundled'")
parser.add_argument("--quick", action="store_true", help="20 steps, to see that all works")


def main() -> None:
    """Run the recipe."""
    options = parser.parse_args()
    training = {"hard_negatives": {"num_negatives": 1, "range_max": 50, "relative_margin": 0.05}}
    if options.quick:
        training["max_steps"] = 20
    config = RunConfig.model_validate(
        {"task": "retrieval", "data": {"path": options.data}, "model": {"name": options.model}, "training": training}
    )
    result = train(config, options.output, show_progress=True)
    print(f"evidence on a page: {write_report(result.run)}")
    for name, found in result.comparison.items():
        before, after = result.against.metrics[name], result.evaluation.metrics[name]
        print(f"{name}: {before:.4f} -> {after:.4f} ({found.verdict}, p {found.p_value:.4f})")


if __name__ == "__main__":
    try:
        main()
    except EmbedftError as error:
        raise SystemExit(f"error: {error}") from None
