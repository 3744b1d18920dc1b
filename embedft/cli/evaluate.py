"""``embedft evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.options import force_option, json_option, precision_option

if TYPE_CHECKING:
    from embedft.encoder import Encoder
    from embedft.evaluation import Evaluation


@click.command()
@click.argument("model")
@click.option("--task", default="retrieval", show_default=True, help="What to score for.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="BEIR folder, or folder or file of pairs.")
@click.option("--split", default="test", show_default=True, help="Which qrels to judge by.")
@click.option("--against", metavar="BASE", help="Another model to compare with, query by query.")
@click.option("--index", "index_path", metavar="INDEX", type=click.Path(path_type=Path),
              help="Search this index of the documents, and tell what it loses against exact search.")  # fmt: skip
@click.option("--hybrid", is_flag=True, help="With --index: search by vectors and words.")
@click.option("--metric", "metrics", multiple=True, help="For example ndcg@10; may be given several times.")
@click.option("--unknown-ids", type=click.Choice(["error", "drop"]), default="error", show_default=True,
              help="Qrels that name ids which do not exist.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write metrics.json and per_query.parquet there.")
@precision_option
@force_option
@json_option
def evaluate(
    model: str,
    task: str,
    data: Path,
    split: str,
    against: str | None,
    index_path: Path | None,
    hybrid: bool,
    metrics: tuple[str, ...],
    unknown_ids: Any,
    output: Path | None,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Score MODEL on a data set, and tell whether it is better than another.

    \b
    embedft evaluate RUN/model --data DATA --split test --against bundled
    embedft evaluate RUN/model --data DATA --split test --index INDEX
    """
    if index_path is not None and (against is not None or task != "retrieval"):
        raise click.UsageError("--index is compared with exact search, of retrieval: leave --against and --task out.")
    if hybrid and index_path is None:
        raise click.UsageError("--hybrid needs --index.")
    from embedft.artifacts import atomic_directory, require_free
    from embedft.cli.output import print_comparison, print_evaluation, print_json
    from embedft.config import DataConfig
    from embedft.encoder import Encoder
    from embedft.evaluation import compare, comparison_dict
    from embedft.evaluation.records import write_record
    from embedft.tasks import get_task, require_split

    chosen = get_task(task)
    wanted = metrics or tuple(chosen.metrics)
    chosen.check_metrics(wanted)
    if output is not None:
        require_free(output, force=force, ours=_is_evaluation)
    dataset = chosen.read(DataConfig(path=data, unknown_ids=unknown_ids))
    require_split(chosen, dataset, split)

    def score(name: str) -> Evaluation:
        encoder = Encoder.load(name, precision=precision)
        return chosen.evaluate(encoder, dataset, split, wanted, show_progress=True)

    other: Evaluation | None
    if index_path is not None:
        evaluation, other = _through(
            index_path, Encoder.load(model, precision=precision), dataset, split, wanted, hybrid
        )
    else:
        evaluation = score(model)
        other = score(against) if against else None
    comparison = compare(evaluation, other) if other else {}
    answer = comparison_dict(evaluation, other, comparison)
    if output is not None:
        with atomic_directory(output, force=force, ours=_is_evaluation) as staged:
            write_record(staged, answer, evaluation, other)
    if as_json:
        print_json(answer)
    elif other is not None:
        print_comparison(evaluation, other, comparison)
    else:
        print_evaluation(evaluation)


def _through(
    path: Path, encoder: Encoder, data: Any, split: str, metrics: tuple[str, ...], hybrid: bool
) -> tuple[Evaluation, Evaluation]:
    """What the index finds, and what it does where every vector is searched: beside the words too, if it is hybrid."""
    from embedft.evaluation import evaluate_through
    from embedft.index import Index

    index = Index.open(path, encoder)
    found = evaluate_through(index, data, split, metrics=metrics, hybrid=hybrid)
    return found, evaluate_through(index, data, split, metrics=metrics, hybrid=hybrid, exact=True)


def _is_evaluation(path: Path) -> bool:
    return {entry.name for entry in path.iterdir()} <= {"metrics.json", "per_query.parquet", "ranking.parquet"}
