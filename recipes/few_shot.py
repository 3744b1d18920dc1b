"""Classify with a few examples a class: contrastive training of the encoder, then a logistic head.

python recipes/few_shot.py DATA -o RUN [--model bundled] [--quick]

DATA is a file or a folder (train, dev, test) with the columns text and label; some eight texts a class are enough. The
best step is chosen on dev; where there is none, three in ten texts are held out. It should have 20 texts or more: on a
few, base and tuned encoder are soon right alike, and then the base is kept. The comparison is with a logistic head on
the encoder as it was.
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
parser.add_argument("--quick", action="store_true", help="20 steps, to see that all works")


def main() -> None:
    """Run the recipe."""
    options = parser.parse_args()
    training = {"loss": "supcon"} | ({"max_steps": 20} if options.quick else {})
    config = RunConfig.model_validate(
        {
            "task": "classification",
            "data": {"path": options.data, "dev_share": 0.3},
            "model": {"name": options.model},
            "training": training,
        }
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
