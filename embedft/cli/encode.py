"""``embedft encode``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.options import force_option, json_option, precision_option

if TYPE_CHECKING:
    from embedft.encoder import Encoder

logger = logging.getLogger("embedft")


class _Texts:
    """The texts of a file, and how many they are: it is read once for that alone, which is little beside the model."""

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column

    def __iter__(self) -> Iterator[str]:
        from embedft.data import stream_texts

        return stream_texts(self.path, self.column)

    def __len__(self) -> int:
        from embedft.data import stream_texts

        return sum(1 for _ in stream_texts(self.path, self.column, note=False))


@click.command()
@click.argument("texts", type=click.Path(path_type=Path))
@click.option("--model", default="bundled", show_default=True, help="Encoder: folder, hub name, or 'bundled'.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File of the vectors, .npy.")
@click.option(
    "--as",
    "role",
    type=click.Choice(["document", "query"]),
    default="document",
    show_default=True,
    help="Whose prompt is put before each text, and whose side of the encoder it goes through.",
)
@click.option("--column", default="text", show_default=True, help="Of the texts, in a file with columns.")
@click.option(
    "--resume", is_flag=True, help="Go on with an interrupted file, if there is one; a finished one stays as it is."
)
@precision_option
@force_option
@json_option
def encode(
    texts: Path,
    model: str,
    output: Path,
    role: str,
    column: str,
    resume: bool,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Embed each text of a file and write the vectors to a NumPy file, row by row.

    TEXTS is a .txt file with a text a line, or a .jsonl, .csv, .tsv or .parquet file; row n of the vectors belongs to
    row n of the texts. - is standard input, with JSON or a table with a header. Any number of texts fits: what is done
    is on the disk, and --resume goes on after a stop.

    \b
    embedft encode sentences.txt --model RUN/model -o vectors.npy
    """
    from embedft.cli.output import console, print_json
    from embedft.data import stream_texts
    from embedft.encoder import Encoder

    encoder = Encoder.load(model, precision=precision)
    encoder = encoder.query_side if role == "query" else encoder
    given = _Texts(texts, column) if texts.is_file() else stream_texts(texts, column)
    finished = resume and not force and _is_finished(output, given, encoder)
    if not finished:
        _encode(output, given, encoder, encoder.prompts[role], resume=resume, force=force)
    import numpy as np

    rows = len(np.load(output, mmap_mode="r"))
    if as_json:
        # Who made a file that was finished before, and how, is not known.
        made = {
            "truncated": None if finished else encoder.truncated,
            "fingerprint": None if finished else encoder.document_fingerprint,
        }
        print_json({"vectors": str(output), "texts": rows, "dim": encoder.dim, **made})
        return
    console().print(f"{output}: {rows} vectors of {encoder.dim} dimensions", markup=False, soft_wrap=True)


def _is_finished(output: Path, texts: _Texts | Iterator[str], encoder: Encoder) -> bool:
    """Whether ``output`` is complete and has a vector of the encoder's dimensions for each text of a file."""
    from embedft.encoder.vectorfile import finished_shape

    shape = finished_shape(output)
    if shape is None or not isinstance(texts, _Texts) or shape != (len(texts), encoder.dim):
        return False
    logger.warning(
        "%s: is finished already, a vector for each text; nothing was done. Whether they are of this model and these "
        "texts is not looked at: --force without --resume makes them afresh.",
        output,
    )
    return True


def _encode(
    output: Path, texts: _Texts | Iterator[str], encoder: Encoder, prompt: str, *, resume: bool, force: bool
) -> None:
    """Write the vectors; if that is interrupted, say how to go on."""
    from embedft.encoder.vectorfile import journal_of

    try:
        encoder.encode_to(output, texts, prompt=prompt, resume=resume, force=force, show_progress=True)
    except KeyboardInterrupt:
        if journal_of(output).is_file():
            click.echo("stopped; what is done is kept: go on with the same command and --resume", err=True)
        raise
