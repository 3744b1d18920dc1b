"""``embedft classify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.options import json_option, precision_option

if TYPE_CHECKING:
    from embedft.heads import Answer


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--texts", type=click.Path(path_type=Path), help="A .txt file with a text a line, or a file with columns."
)
@click.option("--column", default="text", show_default=True, help="Of the texts, in a file with columns.")
@click.option("-k", "nearest", type=click.IntRange(min=0), default=3, show_default=True,
              help="Training texts to name for each answer.")  # fmt: skip
@precision_option
@json_option
def classify(
    run: Path, text: str | None, texts: Path | None, column: str, nearest: int, precision: Any, as_json: bool
) -> None:
    """Tell the label of TEXT, or of each text of a file, by the classifier of RUN.

    Beside the label stand its probability, whether the text belongs to any of the labels at all, and the training texts
    that are most like it. With --texts and --json, one JSON object a line.

    \b
    embedft classify RUN "my card has not arrived"
    """
    if (text is None) == (texts is None):
        raise click.UsageError("give either a text or --texts FILE.")
    from embedft.cli.output import print_json
    from embedft.cli.search import require_text
    from embedft.data import stream_texts
    from embedft.heads import TextClassifier

    if text is not None:
        require_text(text, "text", hint="say what to classify.")
    classifier = TextClassifier.open(run, precision=precision)
    asked = [text] if text is not None else stream_texts(texts, column)  # type: ignore[arg-type]  # one is given
    for answer in classifier.classify(asked, nearest=nearest):
        if as_json:
            print_json(answer.as_dict())
        else:
            _print(answer)


def _print(answer: Answer) -> None:
    """The text, its labels with their probabilities, and below them what speaks for them."""
    from embedft.cli.output import console, without_controls

    def say(text: str) -> None:
        out.print(without_controls(text), markup=False, soft_wrap=True)

    out = console()
    pairs = zip(answer.labels, answer.probabilities, strict=False)
    said = ", ".join(f"{label} {share:.2f}" for label, share in pairs) or "no label"
    if not answer.in_scope:
        said = f"out of scope (nearest: {said})"
    say(f"{' '.join(answer.text.split())}: {said}")
    for one in answer.nearest:
        labels = ", ".join(one.labels)
        say(f"  {one.similarity:.2f} {labels}: {' '.join(one.text.split())}")
