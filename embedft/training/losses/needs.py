"""Which rows a loss is trained on, and training rows brought into that form."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from embedft.errors import DataError
from embedft.training.losses.masks import negatives_of

Needs = Literal[
    "pairs", "pairs with negatives", "triplets", "scored pairs", "scored pairs of 0 and 1", "labelled texts"
]
PAIRS, SCORED = ("anchor", "positive", "negatives"), ("sentence1", "sentence2", "score")
COLUMNS: dict[Needs, tuple[str, ...]] = {
    "pairs": PAIRS,
    "pairs with negatives": PAIRS,
    "triplets": PAIRS,
    "scored pairs": SCORED,
    "scored pairs of 0 and 1": SCORED,
    "labelled texts": ("text", "label"),
}
MIN_ROWS = 2


def rows_of(needs: Needs, rows: pa.Table, *, loss: str, source: str = "") -> pa.Table:
    """The rows as a loss takes them, columns of no use to it left out.

    Triplets: one row for each negative. Pairs with negatives: the rows that have some.

    Args:
        needs: of the loss.
        rows: of the training set.
        loss: its name, for errors.
        source: where the rows come from, for errors.

    Raises:
        DataError: the rows lack what the loss needs.
    """
    where = f"{source}: " if source else ""
    if not set(COLUMNS[needs]) <= set(rows.column_names):
        raise DataError(
            f"{where}loss {loss}: needs {needs}; the training rows have {', '.join(rows.column_names)}.",
            hint=f"give rows with {', '.join(COLUMNS[needs])}, or use another loss.",
        )
    if needs in ("triplets", "pairs with negatives"):
        return _with_negatives(needs, rows, f"{where}loss {loss}")
    if needs == "scored pairs of 0 and 1":
        scores = rows["score"].to_numpy()
        odd = scores[(scores != 0) & (scores != 1)]
        if len(odd):
            raise DataError(
                f"{where}loss {loss}: {len(odd)} of {rows.num_rows} scores are neither 0 nor 1, for example "
                f"{odd[0]:g}.",
                hint="use cosent, which takes graded scores.",
            )
    return rows


def _with_negatives(needs: Needs, rows: pa.Table, what: str) -> pa.Table:
    if needs == "triplets":
        negatives, row_of = negatives_of(rows)
        found = rows.take(pa.array(row_of))
        texts = negatives.combine_chunks() if isinstance(negatives, pa.ChunkedArray) else negatives
        alone = pa.ListArray.from_arrays(pa.array(range(len(texts) + 1), pa.int32()), texts)
        column = found.schema.get_field_index("negatives")
        found = found.set_column(column, rows.schema.field("negatives"), alone.cast(rows["negatives"].type))
        counted = f"the training rows have {found.num_rows} negatives"
    else:
        found = rows.filter(pc.greater(pc.fill_null(pc.list_value_length(rows["negatives"]), 0), 0))
        counted = f"{found.num_rows} of {rows.num_rows} training rows have negatives"
    if found.num_rows < MIN_ROWS:
        raise DataError(
            f"{what}: {counted}; expected at least {MIN_ROWS}.",
            hint="add or mine negatives, or use mnrl.",
        )
    return found
