"""What ``embedft index`` tells of an index: info, verify, versions, and the way back to an older version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.options import force_option, json_option, precision_option

if TYPE_CHECKING:
    from embedft.encoder import Encoder
    from embedft.index.storage import Version

# Above this share of the base, what was added is searched beside it and what was deleted is still in its way.
WORTH_COMPACTING = 0.2

path_argument = click.argument("path", metavar="INDEX", type=click.Path(path_type=Path))


@click.command()
@path_argument
@click.option("--plot", type=click.Path(path_type=Path), help="Write the curve of recall and speed to an HTML file.")
@force_option
@json_option
def info(path: Path, plot: Path | None, force: bool, as_json: bool) -> None:
    """Tell what INDEX holds: documents, model, kind, recall, sizes, version."""
    from embedft.cli.output import print_json
    from embedft.errors import ConfigError
    from embedft.index.snapshot import Snapshot

    answer = {"index": str(path), **described(path, Snapshot.open(path).version)}
    if plot is not None:
        if answer["curve"] is None:
            raise ConfigError(f"{path}: search is exact, so there is no curve.", hint="leave --plot out.")
        require_plot(plot, path, force=force)
        write_plot(plot, answer)
    if as_json:
        print_json(answer)
        return
    print_described(answer)


def require_plot(plot: Path, path: Path, *, force: bool) -> None:
    """Raise ArtifactError if the curve of the index at ``path`` may not be written to ``plot``."""
    from embedft.cli.dataset import require_new
    from embedft.reports import PAGE_BEGIN

    require_new(plot, PAGE_BEGIN, force=force, apart_from=[path])


def write_plot(plot: Path, answer: Mapping[str, Any]) -> None:
    """Write the curve of an approximate index as a page; ``answer`` is what `described` gives, with ``index``."""
    from embedft.artifacts import write_bytes
    from embedft.reports.index import curve_page

    write_bytes(plot, curve_page(answer).encode())


@click.command()
@path_argument
@click.option("--no-model", is_flag=True, help="Leave out the canaries, which need the model of the index.")
@click.option("--model", help="The encoder of the index, if it is not where it was.")
@precision_option
@json_option
def verify(path: Path, no_model: bool, model: str | None, precision: Any, as_json: bool) -> None:
    """Check every file of INDEX, its counts, vectors, canaries and recall; exit status 1 if anything is wrong."""
    from embedft.cli.output import print_json
    from embedft.index import verifying
    from embedft.index.identity import load_encoder

    def load(manifest: Mapping[str, Any]) -> Encoder:
        return load_encoder(manifest, precision, model)

    found = verifying.verify(path, None if no_model else load)
    if as_json:
        print_json({"index": str(path), **found.as_dict()})
    else:
        for problem in found.problems:
            click.echo(f"{path}: {problem}")
        if not found.problems:
            click.echo(f"{path}: sound, {found.documents} documents")
        if found.canary is not None:
            click.echo(f"canaries: cosine {found.canary:.4f} at least")
        if found.recall is not None:
            recall = found.recall
            click.echo(
                f"recall@{recall['at']} of {recall['queries']} queries: {recall['value']:.3f} "
                f"(stated {recall['stated']:.3f}, at least {recall['stated_ci_low']:.3f})"
            )
    if found.problems:
        click.echo(
            f"hint: 'embedft index versions {path}' lists what can be made current with 'embedft index rollback --to'; "
            "or build the index again with --force.",
            err=True,
        )
        raise SystemExit(1)


@click.command()
@path_argument
@json_option
def versions(path: Path, as_json: bool) -> None:
    """List the versions of INDEX that are on the disk."""
    from rich.table import Table

    from embedft.cli.output import console, print_json, print_table
    from embedft.index import storage

    found = storage.versions(path)
    if as_json:
        print_json({"index": str(path), "versions": found})
        return
    table = Table("version", "written", "documents", "size", "its own", "")
    for version in found:
        sizes = (_size(version["bytes"]), _size(version["unique_bytes"]))
        current = "current" if version["current"] else ""
        documents = "unknown" if version["documents"] is None else str(version["documents"])
        table.add_row(str(version["number"]), version["created"] or "unknown", documents, *sizes, current)
    print_table(console(), table)
    if not any(version["current"] for version in found):
        click.echo(
            "none is current: CURRENT is missing or damaged, or names a version that is gone.\n"
            f"hint: make one current with 'embedft index rollback {path} --to NUMBER'.",
            err=True,
        )


@click.command()
@path_argument
@click.option("--to", type=click.IntRange(1), help="Number of the version; by default the one before.")
@json_option
def rollback(path: Path, to: int | None, as_json: bool) -> None:
    """Make an older version of INDEX current again."""
    from embedft.cli.output import print_json
    from embedft.index import storage

    version = storage.rollback(path, to)
    documents = version.manifest["documents"]
    if as_json:
        print_json({"index": str(path), "version": version.number, "documents": documents})
        return
    click.echo(f"{path}: version {version.number} is current, {documents} documents")


def described(path: Path, version: Version) -> dict[str, Any]:
    """What scripts read of a version of the index at ``path``."""
    from embedft.index import storage

    manifest = version.manifest
    base = manifest["segments"][0]
    tuning: dict[str, Any] = base["tuning"]
    chosen: dict[str, Any] = tuning["chosen"] if tuning else {}
    # A writer may have replaced and removed it since it was opened: then the manifest alone tells its size.
    listed = sum(file["bytes"] for file in manifest["files"].values())
    sizes = {found["number"]: found["bytes"] for found in storage.versions(path)}
    return {
        "documents": manifest["documents"],
        "dim": manifest["dim"],
        "fingerprint": manifest["fingerprint"],
        "model": manifest["model"],
        "precision": manifest["precision"],
        "prompts": manifest["prompts"],
        "kind": base["kind"],
        "factory": base["factory"],
        "recall": {
            "at": tuning["k"],
            "value": chosen["recall"],
            "ci_low": chosen["ci_low"],
            "queries": tuning["queries"],
        }
        if tuning
        else {"at": manifest["settings"]["k"], "value": 1.0, "ci_low": 1.0, "queries": 0},
        "point": chosen or None,
        "curve": tuning["curve"] if tuning else None,
        "segments": [{key: entry[key] for key in ("folder", "documents", "kind")} for entry in manifest["segments"]],
        "added": sum(entry["documents"] for entry in manifest["segments"][1:]),
        "deleted": sum(entry["documents"] for entry in manifest["segments"]) - manifest["documents"],
        "lexical": manifest["settings"]["lexical"],
        "fusion": manifest.get("fusion"),
        "mapped": manifest.get("mapped"),
        "bytes": sizes.get(version.number, listed),
        "version": version.number,
        "created": manifest["created"],
    }


def print_described(answer: Mapping[str, Any]) -> None:
    """The same for people."""
    from rich.table import Table

    from embedft.cli.output import console, print_table

    out = console()
    recall = answer["recall"]
    exact = answer["curve"] is None
    found = "exact search" if exact else f"{answer['kind']} ({answer['factory']})"
    say = [
        f"{answer['index']}: {answer['documents']} documents, {answer['dim']} dimensions, {found}, "
        f"{_size(answer['bytes'])}, version {answer['version']} of {answer['created']}",
        f"model {answer['model']} ({answer['precision']}), fingerprint {answer['fingerprint'][:12]}",
    ]
    if not exact:
        say.append(
            f"recall@{recall['at']} {recall['value']:.3f}, at least {recall['ci_low']:.3f} (95 %, {recall['queries']} "
            f"queries) among the {answer['segments'][0]['documents']} documents it was built of; "
            f"{answer['point']['qps']:,.0f} queries/s, {answer['point']['latency_ms']:.2f} ms one query"
        )
    if answer["added"] or answer["deleted"]:
        worth = answer["added"] + answer["deleted"] > WORTH_COMPACTING * answer["segments"][0]["documents"]
        say.append(
            f"added since: {answer['added']} documents in {len(answer['segments']) - 1} segments; "
            f"deleted: {answer['deleted']}"
            + (f"; 'embedft index compact {answer['index']}' makes one segment of all" if worth else "")
        )
    if answer["mapped"]:
        mapped = answer["mapped"]
        say.append(
            f"vectors mapped from {mapped['from']}: {mapped['recall']:.3f} of the {mapped['k']} nearest of "
            f"{mapped['judged']} held-out documents are kept"
        )
    if answer["fusion"]:
        weight, queries = answer["fusion"]["weight"], answer["fusion"]["queries"]
        say.append(f"hybrid search: vectors count {weight:g}, words {1 - weight:g}, tuned on {queries} queries")
    for line in say:
        out.print(line, soft_wrap=True, markup=False)
    if not exact:
        table = Table("effort", "factor")
        for heading in (f"recall@{recall['at']}", "at least", "queries/s", "ms one query"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for point in answer["curve"]:
            chosen = "chosen" if point == answer["point"] else ""
            table.add_row(
                str(point["point"]["effort"]), f"{point['point']['factor']:g}", f"{point['recall']:.3f}",
                f"{point['ci_low']:.3f}", f"{point['qps']:,.0f}", f"{point['latency_ms']:.2f}", chosen,
            )  # fmt: skip
        print_table(out, table)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1000
    return ""
