"""``embedft evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from embedft.cli.dataset import ROWS, Rows
from embedft.cli.options import (
    force_option,
    gathered,
    given_arguments,
    json_option,
    precision_option,
    unknown_ids_option,
)

if TYPE_CHECKING:
    from embedft.data import RetrievalData
    from embedft.encoder import Encoder
    from embedft.evaluation import Evaluation, RetrievalEvaluation
    from embedft.tasks import Looked, Task

FILES = {"metrics.json", "per_query.parquet", "ranking.parquet", "analysis.json", "report.html"}
BUNDLED = Path("bundled")


@dataclass(frozen=True)
class Looks:
    """What is looked into beside the scores."""

    stress: bool
    ladder: bool
    guard: Path | None
    projection: Any

    @property
    def any(self) -> bool:
        """Whether something was asked for."""
        return self.stress or self.ladder or self.guard is not None

    @property
    def names(self) -> list[str]:
        """The parts of the analysis that were asked for."""
        return [name for name in ("ladder", "guard", "stress") if getattr(self, name)]


looks_options = (
    click.option("--stress", is_flag=True, help="Also under typos, other words, noise, cut and with other prompts."),
    click.option("--ladder", is_flag=True, help="Also with fewer dimensions and smaller storage."),
    click.option("--guard", metavar="DATA", type=click.Path(path_type=Path),
                 help="With --against: what of this other data was forgotten; 'bundled' is a general set."),
    click.option("--map", "projection", type=click.Choice(["pca", "umap"]), default="pca", show_default=True,
                 help="With -o: the map of the vectors; umap needs 'embedft[map]'."),
)  # fmt: skip


@click.command()
@click.argument("model")
@click.option("--task", default="retrieval", show_default=True, help="What to score for.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="BEIR folder, or rows.")
@click.option("--split", default="test", show_default=True, help="Which qrels to judge by.")
@click.option("--against", metavar="BASE", help="Another model to compare with, query by query.")
@click.option("--index", "index_path", metavar="INDEX", type=click.Path(path_type=Path),
              help="Search this index of the documents, and tell what it loses against exact search.")  # fmt: skip
@click.option("--hybrid", is_flag=True, help="With --index: search by vectors and words.")
@click.option("--metric", "metrics", multiple=True, help="For example ndcg@10; may be given several times.")
@unknown_ids_option
@gathered("rows", Rows, ROWS)
@gathered("looks", Looks, looks_options)
@click.option("-o", "--output", type=click.Path(path_type=Path),
              help="Write scores, errors, geometry and a page there; embedft compare reads it.")  # fmt: skip
@click.option("--run-file", type=click.Path(path_type=Path, dir_okay=False),
              help="Write what was found as a run file: TREC's, or ranx' .json.")  # fmt: skip
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
    rows: Rows,
    looks: Looks,
    output: Path | None,
    run_file: Path | None,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Score MODEL on a data set, and tell whether it is better than another.

    \b
    embedft evaluate RUN/model --data DATA --split test --against bundled -o EVALUATION
    embedft evaluate RUN/model --data DATA --stress --ladder
    embedft evaluate RUN/model --data DATA --split test --index INDEX
    """
    _check_usage(task, against, index_path, run_file, output, looks, hybrid=hybrid)
    from embedft.config import DataConfig
    from embedft.evaluation.forgetting import check_guard
    from embedft.evaluation.geometry import require_method
    from embedft.evaluation.ladder import NO_LADDER
    from embedft.tasks import Looked, get_task, require_split

    chosen = get_task(task)
    if looks.ladder and chosen.headed:
        raise click.UsageError(f"--ladder: {NO_LADDER}.")
    wanted = tuple(dict.fromkeys(metrics)) or tuple(chosen.metrics)
    chosen.check_metrics(wanted)
    _check_places(output, run_file, force=force)
    require_method(looks.projection)
    if looks.guard not in (None, BUNDLED):
        check_guard(looks.guard, unknown_ids=unknown_ids)
    dataset = chosen.read(DataConfig(path=data, unknown_ids=unknown_ids, **rows.settings()))
    require_split(chosen, dataset, split)
    if run_file is not None:
        _check_ids(run_file, dataset, split)
    judging = _Judging(chosen, dataset, split, wanted, precision, keep_vectors=output is not None or looks.any)
    if index_path is not None:
        encoder = judging.load(model)
        evaluations = _through(index_path, encoder, dataset, split, wanted, hybrid)
        looked = Looked(chosen, dataset, wanted[0], (encoder, None), evaluations, ({}, {}))
    else:
        looked = judging.looked(model, against)
    _finish(looked, looks, output, run_file, unknown_ids=unknown_ids, force=force, as_json=as_json)


def _check_usage(
    task: str,
    against: str | None,
    index_path: Path | None,
    run_file: Path | None,
    output: Path | None,
    looks: Looks,
    *,
    hybrid: bool,
) -> None:
    """Raise UsageError if options do not go together."""
    if index_path is not None and (against is not None or task != "retrieval" or looks.any):
        raise click.UsageError(
            "--index is compared with exact search, of retrieval: leave --against, --task, --stress, --ladder and "
            "--guard out."
        )
    if looks.projection != "pca" and output is None:
        raise click.UsageError("--map needs -o: the map is on the page that is written there.")
    if hybrid and index_path is None:
        raise click.UsageError("--hybrid needs --index.")
    if looks.guard is not None and against is None:
        raise click.UsageError("--guard needs --against: the model that may have known what this one has forgotten.")
    if run_file is not None and task != "retrieval":
        raise click.UsageError("--run-file is of retrieval.")


def _check_places(output: Path | None, run_file: Path | None, *, force: bool) -> None:
    """Raise ArtifactError if what is found could not be written: before the work, not after it."""
    from embedft.artifacts import require_free
    from embedft.cli.places import ANOTHER, require_result
    from embedft.errors import ArtifactError

    if output is not None:
        if (output / "run.json").is_file():
            raise ArtifactError(f"{output}: is a run; an evaluation does not take its place.", hint=ANOTHER)
        require_free(output, force=force, ours=_is_evaluation)
    if run_file is not None:
        require_result(run_file, "run file", force=force, ours=_is_run_file, beside=output)


def _check_ids(run_file: Path, data: RetrievalData, split: str) -> None:
    """Raise DataError if the run file cannot hold the ids of what may be found."""
    from embedft.evaluation.runfile import require_writable

    require_writable(run_file, [*data.split(split)["query_id"].to_pylist(), *data.corpus["id"].to_pylist()])


@dataclass(frozen=True)
class _Judging:
    """How models are scored."""

    task: Task
    data: Any
    split: str
    metrics: tuple[str, ...]
    precision: Any
    keep_vectors: bool

    def load(self, name: str) -> Encoder:
        """The model of that name."""
        from embedft.encoder import Encoder

        return Encoder.load(name, precision=self.precision)

    def looked(self, model: str, against: str | None) -> Looked:
        """Both models and what they score."""
        from embedft.tasks import Looked

        encoders = self.load(model), self.load(against) if against else None
        options = [
            self.task.options(encoder, self.data, show_progress=True) if encoder is not None else {}
            for encoder in encoders
        ]
        evaluations = [
            self._score(encoder, own) if encoder is not None else None
            for encoder, own in zip(encoders, options, strict=True)
        ]
        found: Any = tuple(evaluations)
        return Looked(self.task, self.data, self.metrics[0], encoders, found, (options[0], options[1]), True)

    def _score(self, encoder: Encoder, options: dict[str, Any]) -> Evaluation:
        return self.task.evaluate(
            encoder, self.data, self.split, self.metrics, show_progress=True, keep_vectors=self.keep_vectors, **options
        )


def _finish(
    looked: Looked,
    looks: Looks,
    output: Path | None,
    run_file: Path | None,
    *,
    unknown_ids: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Compare, look into what was asked for, write, print."""
    from embedft.cli.evidence import print_analysis
    from embedft.cli.output import print_comparison, print_evaluation, print_json
    from embedft.evaluation import compare, comparison_dict

    evaluation, other = looked.evaluations
    comparison = compare(evaluation, other) if other else {}
    answer = {
        **comparison_dict(evaluation, other, comparison),
        "arguments": given_arguments(without=("output", "run_file", "force", "as_json")),
    }
    analysis = looked.analysis(
        errors=output is not None,
        method=looks.projection,
        guard="bundled" if looks.guard == BUNDLED else looks.guard,
        unknown_ids=unknown_ids,
        ladder=looks.ladder,
        stress=looks.stress,
    )
    if output is not None:
        _write(output, answer, looked, analysis, force=force)
    asked = {name: analysis[name] for name in looks.names}
    if as_json:
        print_json({**answer, **asked})
    else:
        if other is not None:
            print_comparison(evaluation, other, comparison)
        else:
            print_evaluation(evaluation, answer["intervals"])
        print_analysis(asked)
        if output is not None:
            page = output / "report.html"
            click.echo(f"evidence: {output}" + (f", page: {page}" if page.is_file() else ""))
    # Last: what was found is written or told, whatever becomes of this file.
    if run_file is not None:
        _write_run_file(run_file, cast("RetrievalEvaluation", evaluation))


def _write(output: Path, answer: dict[str, Any], looked: Looked, analysis: dict[str, Any], *, force: bool) -> None:
    from embedft.artifacts import atomic_directory
    from embedft.cli.evidence import write_pages
    from embedft.evaluation.analysis import write_analysis
    from embedft.evaluation.records import write_record

    with atomic_directory(output, force=force, ours=_is_evaluation) as staged:
        write_record(staged, answer, *looked.evaluations)
        write_analysis(staged, analysis)
    write_pages(output)


def _write_run_file(path: Path, evaluation: RetrievalEvaluation) -> None:
    from embedft.cli.compare import distinct_names
    from embedft.evaluation.runfile import write_run

    write_run(path, evaluation.query_ids, evaluation.ranking, name=distinct_names([evaluation.model])[0])


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
    from embedft.artifacts import unstaged

    return {unstaged(entry.name) for entry in path.iterdir()} <= FILES


def _is_run_file(path: Path) -> bool:
    from embedft.errors import DataError
    from embedft.evaluation.runfile import read_run

    try:
        read_run(path)
    except DataError:
        # Nothing is lost with an empty file.
        return not path.stat().st_size
    return True
