"""``embedft data augment``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.asking import Asking, asking_options
from embedft.cli.dataset import Reading, output_option, print_sizes, reading_options
from embedft.cli.options import force_option, json_option, names_in, require_use

if TYPE_CHECKING:
    from embedft.data.augment import AugmentReport, Rewrite
    from embedft.data.thesaurus import Thesaurus

# What reads which options.
READERS = {
    ("synonyms", "insertion"): ("thesaurus", "wordnet"),
    ("back-translation",): ("translate", "translate_back", "languages"),
    ("paraphrase",): tuple(name for name in Asking.__dataclass_fields__ if name != "cache"),
    ("paraphrase", "back-translation"): ("cache",),
}


@click.command()
@output_option
@click.option(
    "--methods",
    default="deletion,swap",
    show_default=True,
    help="Any of deletion, swap, insertion, crop, typos, synonyms, back-translation, paraphrase, with commas.",
)
@click.option("--copies", type=click.IntRange(1), default=1, show_default=True, help="New rows of each by each method.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.1,
    show_default=True,
    help="Share of the words an edit changes.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--thesaurus", type=click.Path(path_type=Path), help="File of synonyms: 'quick;fast;rapid' a line.")
@click.option("--wordnet", type=click.Path(path_type=Path), help="Folder of WordNet, where it is not found.")
@click.option("--translate", metavar="MODEL", help="Translation model into another language.")
@click.option("--translate-back", metavar="MODEL", help="The way back; without it the same model.")
@click.option("--languages", help="Of the texts and in between, for a model of many: en,de.")
@asking_options
@reading_options
@force_option
@json_option
def augment(
    output: Path,
    methods: str,
    copies: int,
    rate: float,
    seed: int,
    thesaurus: Path | None,
    wordnet: Path | None,
    translate: str | None,
    translate_back: str | None,
    languages: str | None,
    asking: Asking,
    reading: Reading,
    force: bool,
    as_json: bool,
) -> None:
    """Make more training rows out of those there are.

    Changes the text of a labelled row, the anchor of a pair, one side of a scored pair, the query of a judgment; only
    rows of train are used. A new text that stands in another split is left out, and each new row names its parent, so
    that a later split keeps them together.

    \b
    embedft data augment DATA -o MORE --methods synonyms,deletion --copies 2
    embedft data augment DATA -o MORE --methods back-translation \\
        --translate opus-mt-en-de --translate-back opus-mt-de-en
    """
    from embedft.artifacts import require_free
    from embedft.cli.output import print_json
    from embedft.data.augment import AugmentConfig
    from embedft.data.augment import augment as augment_data
    from embedft.data.faults import report as report_faults
    from embedft.data.store import is_stored, write_dataset
    from embedft.errors import DataError

    config = AugmentConfig(names_in("--methods", methods), copies, rate, seed)
    # Before the work, which may be long.
    require_free(output, force=force, ours=is_stored)
    for methods_of, options in READERS.items():
        require_use(not {*methods_of}.isdisjoint(config.methods), options, f"--methods {' or '.join(methods_of)}")
    words = _thesaurus(config.methods, thesaurus, wordnet)
    rewrites: dict[str, Rewrite] = {}
    if "back-translation" in config.methods:
        rewrites["back-translation"] = _translation(
            translate, translate_back, languages, seed, asking.kept_beside(output), progress=not as_json
        )
    if "paraphrase" in config.methods:
        rewrites["paraphrase"] = _paraphrase(asking, output, seed, progress=not as_json)
    found = reading.read()
    report_faults(found.faults)
    made, report = augment_data(found, config, thesaurus=words, rewrites=rewrites)
    if not report.kept.total():
        raise DataError(
            f"{found.path}: no new row came of {methods}: {_told(report)}.",
            hint="use other methods, or a higher --rate.",
        )
    write_dataset(made, output, made_by="embedft data augment", force=force)
    if as_json:
        bad = {"bad_rows": len(found.faults)}
        print_json({"output": str(output), "rows": made.sizes(), **bad, **report.as_dict()})
        return
    _print(report)
    print_sizes(output, made)


def _thesaurus(methods: tuple[str, ...], file: Path | None, wordnet: Path | None) -> Thesaurus | None:
    from embedft.data.thesaurus import ThesaurusFile, find_wordnet
    from embedft.errors import ConfigError

    if file is not None and wordnet is not None:
        raise ConfigError("--thesaurus and --wordnet are both given.", hint="name one of them.")
    if file is not None:
        return ThesaurusFile(file)
    return find_wordnet(wordnet) if wordnet is not None or "synonyms" in methods else None


def _translation(
    there: str | None, back: str | None, languages: str | None, seed: int, cache: Path, *, progress: bool
) -> Rewrite:
    from embedft.data.translate import Translator, back_translate
    from embedft.errors import ConfigError

    if there is None:
        raise ConfigError("back-translation needs a model.", hint="give --translate and --translate-back.")
    codes = [code.strip() for code in languages.split(",")] if languages else [None, None]
    if len(codes) != 2 or "" in codes:
        raise ConfigError(f"--languages {languages}: expected two codes.", hint="for example en,de.")
    if back is None and languages is None:
        raise ConfigError(
            "there is a model for one way alone.",
            hint="give --translate-back, or --languages for a model of many languages.",
        )
    own, other = codes

    def rewrite(texts: Sequence[str], copies: int) -> list[list[str]]:
        into = Translator(there, own, other)
        home = Translator(back or there, other, own)
        return back_translate(texts, copies, into, home, cache=cache, seed=seed, show_progress=progress)

    return rewrite


def _paraphrase(asking: Asking, output: Path, seed: int, *, progress: bool) -> Rewrite:
    from embedft.data.written import PARAPHRASE, paraphrases

    endpoint = asking.open(output)
    prompt = asking.prompt_or(PARAPHRASE)

    def rewrite(texts: Sequence[str], copies: int) -> list[list[str]]:
        made = paraphrases(texts, copies, endpoint, prompt=prompt, seed=seed, show_progress=progress)
        if endpoint.said():
            click.echo(f"of {len(texts) * copies} paraphrases: {endpoint.said()}", err=True)
        return made

    return rewrite


def _told(report: AugmentReport) -> str:
    """Why rows and new texts were left out, with counts."""
    counts = {**report.passed_over, **{reason: found.total() for reason, found in report.dropped.items()}}
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "nothing was made"


def _print(report: AugmentReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    from embedft.cli.output import console, print_table

    table = Table("method")
    for heading in ("made", *report.dropped, "kept"):
        table.add_column(heading, justify="right")
    table.add_column("for example", overflow="fold")
    for name, count in report.made.items():
        gone: list[Any] = [f"{counts[name]:,}" for counts in report.dropped.values()]
        table.add_row(name, f"{count:,}", *gone, f"{report.kept[name]:,}", escape(report.examples.get(name, "")))
    out = console()
    print_table(out, table)
    for reason, count in report.passed_over.items():
        if count:
            out.print(f"passed over: {count:,} rows of train, {reason}", markup=False)
