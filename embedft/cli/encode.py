"""``embedft encode``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from embedft.cli.options import force_option, json_option, precision_option


class _Texts:
    """The texts of a file, and how many they are: it is read once for that alone, which is little beside the model."""

    def __init__(self, path: Path, column: str) -> None:
        self.path, self.column = path, column

    def __iter__(self) -> Iterator[str]:
        from embedft.data import stream_texts

        return stream_texts(self.path, self.column)

    def __len__(self) -> int:
        return sum(1 for _ in self)


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
@click.option("--resume", is_flag=True, help="Go on with an interrupted file, if there is one.")
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
    row n of the texts. Any number of texts fits: what is done is on the disk, and --resume goes on after a stop.

    \b
    embedft encode sentences.txt --model RUN/model -o vectors.npy
    """
    from embedft.cli.output import console, print_json
    from embedft.data import stream_texts
    from embedft.encoder import Encoder

    encoder = Encoder.load(model, precision=precision)
    encoder = encoder.query_side if role == "query" else encoder
    encoder.encode_to(
        output,
        _Texts(texts, column) if texts.is_file() else stream_texts(texts, column),
        prompt=encoder.prompts[role],
        resume=resume,
        force=force,
        show_progress=True,
    )
    import numpy as np

    rows = len(np.load(output, mmap_mode="r"))
    if as_json:
        print_json(
            {
                "vectors": str(output),
                "texts": rows,
                "dim": encoder.dim,
                "truncated": encoder.truncated,
                "fingerprint": encoder.document_fingerprint,
            }
        )
        return
    console().print(f"{output}: {rows} vectors of {encoder.dim} dimensions", markup=False, soft_wrap=True)
