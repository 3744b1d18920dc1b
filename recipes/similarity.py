"""Fine-tune an encoder so that cosines follow the scores that people gave to pairs of texts.

python recipes/similarity.py DATA -o RUN [--model bundled] [--quick]

DATA is a file or a folder (train, dev, test) with the columns sentence1, sentence2 and score, on any scale.
"""

import argparse
from pathlib import Path

from embedft import RunConfig, train
from embedft.errors import EmbedftError
from embedft.reports.run import write_report

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", help="file or folder of scored pairs, or hub name")
parser.add_argument("-o", "--output", type=Path, required=True, help="directory of the run")
parser.add_argument("--model", default="bundled", help="encoder to start from: folder, hub name, or 'bundled'")
parser.add_argument("--quick", action="store_true", help="20 steps, to see that all works")


def main() -> None:
    """Run the recipe."""
    options = parser.parse_args()
    training = {"max_steps": 20} if options.quick else {}
    config = RunConfig.model_validate(
        {"task": "similarity", "data": {"path": options.data}, "model": {"name": options.model}, "training": training}
    )
    result = train(config, options.output, show_progress=True)
    print(f"evidence on a page: {write_report(result.run)}")
    for pair in result.evaluation.worst(3):
        print(f"cosine {pair['cosine']:.2f}, score {pair['score']:.2f}: {pair['sentence1']} | {pair['sentence2']}")
    for name, found in result.comparison.items():
        before, after = result.against.metrics[name], result.evaluation.metrics[name]
        print(f"{name}: {before:.4f} -> {after:.4f} ({found.verdict}, p {found.p_value:.4f})")


if __name__ == "__main__":
    try:
        main()
    except EmbedftError as error:
        raise SystemExit(f"error: {error}") from None
