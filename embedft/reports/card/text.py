"""The text of a card: what the model is, how it is used, what it scores, what it cost, and its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from embedft.evaluation.comparison import rule_text
from embedft.reports.card.encoder import BUNDLED, EncoderFacts
from embedft.reports.card.metadata import data_name
from embedft.reports.card.places import last_part, without_places
from embedft.reports.run.figures import between, chance, is_number, plural, score, signed
from embedft.reports.run.record import RunRecord
from embedft.reports.run.verdict import evidence, sentence

# Settings that say where something lay on the machine of the training.
PLACES = frozenset({"path", "name", "device", "also", "general", "guard"})
SHOWN_CLASSES = 30


def text(record: RunRecord, encoder: EncoderFacts) -> str:
    """Markdown below the metadata."""
    parts = [
        ("", _head(record, encoder)),
        ("Use", _use(record, encoder)),
        ("Scores", _scores(record, encoder)),
        ("What it cost elsewhere", _guard(record)),
        ("Size against quality", _ladder(record)),
        ("Under stress", _stress(record.part("stress"))),
        ("Training data", _data(record)),
        ("Training", _training(record)),
        ("Limits", _limits(record, encoder)),
    ]
    blocks = []
    for title, lines in parts:
        body = "\n".join(lines)
        if body:
            blocks.append(f"## {title}\n\n{body}" if title else body)
    return "\n\n".join(blocks) + "\n"


def _head(record: RunRecord, encoder: EncoderFacts) -> Iterator[str]:
    yield f"# {_safe(record.name)}\n"
    if _untouched(record):
        yield f"An encoder of texts for {record.task}: {_safe(encoder.base)}, whose weights are as they were."
    else:
        yield f"An encoder of texts for {record.task}, fine-tuned by embedft from {_safe(encoder.base)}."
    told = evidence(record)
    verdict = _safe(sentence(record, _against(record, encoder)))
    yield f"\n**{verdict}** {told}" if told else f"\n**{verdict}**"
    facts = [
        f"{encoder.dim} dimensions, unit length, compared by cosine"
        if encoder.dim
        else "unit vectors, compared by cosine",
        f"texts are cut at {encoder.max_length:,} tokens" if encoder.max_length else "",
        f"architecture: {encoder.architecture}" if encoder.architecture else "",
    ]
    yield f"\n{'; '.join(filter(None, facts))}."


def _untouched(record: RunRecord) -> bool:
    """Whether the encoder is the base itself: a classifier alone was trained, or no step was better."""
    prints = record.run.get("fingerprint"), record.run.get("base_fingerprint")
    return prints[0] is not None and prints[0] == prints[1]


def _against(record: RunRecord, encoder: EncoderFacts) -> str:
    """The other model under the name that the card uses for the base, not the path that it had."""
    name = str((record.config.get("model") or {}).get("name") or "")
    if name not in ("", BUNDLED) and record.against.startswith(name):
        return f"{encoder.base}{record.against.removeprefix(name)}"
    return without_places(last_part(record.against), record)


def _use(record: RunRecord, encoder: EncoderFacts) -> Iterator[str]:
    yield "```python"
    yield "from sentence_transformers import SentenceTransformer\n"
    yield f'model = SentenceTransformer("{_code(record.name)}")  # the folder of this file, or its name on a hub'
    if record.task == "retrieval":
        yield 'queries = model.encode_query(["your question"])'
        yield 'documents = model.encode_document(["a text that may answer it", "another one"])'
        yield "scores = model.similarity(queries, documents)"
    else:
        yield 'vectors = model.encode_document(["a text", "another one"])'
        yield "scores = model.similarity(vectors, vectors)"
    yield "```\n"
    known = {role: prompt for role, prompt in encoder.prompts.items() if prompt}
    if known:
        told = "; ".join(f"{role}: `{_code(prompt)}`" for role, prompt in known.items())
        yield f"Prompts are part of the model, and these calls put them before each text: {told}."
    else:
        yield "It needs no prompts; queries and documents still have calls of their own."
    if record.task == "classification":
        yield '\nThe classifier on these vectors lies beside the model in `head/`: `embedft classify RUN "a text"`.'


def _scores(record: RunRecord, encoder: EncoderFacts) -> Iterator[str]:
    if not record.comparison:
        rows = [(name, score(value, 4)) for name, value in record.values.items()]
        yield from _table(("metric", "score"), rows)
        return
    yield (
        f"On {plural(record.count, record.unit)} of {_safe(data_name(record))}, split {record.metrics.get('split')}, "
        f"before: {_safe(_against(record, encoder))}; interval and test are paired, over the same "
        f"{record.unit}.\n"
    )
    compared = [
        (
            name, score(record.before.get(name), 4), score(record.values.get(name), 4),
            f"{signed(value.get('difference'), 4)} ({between(value.get('ci_low'), value.get('ci_high'))})",
            chance(value.get("p_value")), str(value.get("verdict")),
        )
        for name, value in record.comparison.items()
    ]  # fmt: skip
    yield from _table(("metric", "before", "after", "difference, 95 % interval", "p", "verdict"), compared)
    yield f"\n{rule_text(record.comparison, shown='before')}"
    if record.macro_note:
        yield f"\n{_safe(record.macro_note)}"
    found = record.comparison.get(record.metric) or {}
    if is_number(found.get("detectable")):
        yield f"\nThe smallest difference that would be seen four times in five: {score(found['detectable'])}."
    per_class = record.metrics.get("per_class") or []
    if per_class and len(per_class) <= SHOWN_CLASSES:
        yield ""
        yield from _table(
            ("class", "texts", "precision", "recall", "F1"),
            [(row["class"], row["texts"], *_of_class(row)) for row in per_class],
        )


def _of_class(row: dict[str, Any]) -> list[str]:
    """Precision, recall and F1; dashes for a class without a text, which has no score."""
    return [score(row.get(name) if row["texts"] else None) for name in ("precision", "recall", "f1")]


def _guard(record: RunRecord) -> Iterator[str]:
    found = record.part("guard")
    if found.get("reading"):
        yield _safe(without_places(str(found["reading"]), record))
    elif found:
        yield f"{found.get('metric')}: {score(found.get('before'))} before, {score(found.get('after'))} after."
    else:
        yield "It was not measured what the model forgot."


def _ladder(record: RunRecord) -> Iterator[str]:
    found = record.part("ladder")
    if found.get("reading"):
        yield _safe(found["reading"])
    cheapest = found.get("cheapest")
    if cheapest and is_number(cheapest.get("mb_per_million")):
        yield (
            f"\nCheapest that keeps {found.get('share') or 0:.0%}: {cheapest.get('dim')} dimensions as "
            f"{cheapest.get('storage')}, {cheapest['mb_per_million']:,.0f} MB a million documents."
        )


def _stress(found: dict[str, Any]) -> Iterator[str]:
    """What it costs on the whole; the rest stands in the report."""
    reading = found.get("reading") or []
    for entry in [reading] if isinstance(reading, str) else reading[:2]:
        yield f"- {_safe(entry)}"


def _data(record: RunRecord) -> Iterator[str]:
    manifest = record.run.get("data") or {}
    kind = f" ({manifest['kind']})" if manifest.get("kind") else ""
    yield f"{_safe(data_name(record))}{kind}."
    counts = manifest.get("rows") or {name: value for name, value in manifest.items() if isinstance(value, int)}
    if counts:
        yield ""
        yield from _table(
            ("part", "rows"), [(name, f"{count:,}") for name, count in counts.items() if isinstance(count, int)]
        )
    leaks, dropped = record.run.get("leakage") or [], int(record.run.get("leakage_dropped") or 0)
    yield ""
    if dropped:
        yield f"- Leakage: {plural(dropped, 'rows')} of train that stand in another split too were left out."
    elif not leaks:
        yield "Leakage between train and the other splits: none was found."
    for leak in leaks:
        told = "this makes scores too good" if leak.get("severe") else "common and harmless"
        yield f"- Leakage: {leak.get('count'):,} of split {leak.get('split')} ({leak.get('kind')}); {told}."


def _training(record: RunRecord) -> Iterator[str]:
    from embedft.reports.run.reproduce import own_settings

    best = record.run.get("best") or {}
    if best and not _untouched(record):
        yield (
            f"Step {best.get('step')} was kept, by {best.get('metric')} on dev: {score(best.get('value'), 4)}, before "
            f"training {score(best.get('base'), 4)}.\n"
        )
    own = [(name, value) for name, value in own_settings(record.config) if name.split(".")[-1] not in PLACES]
    settings = [(name, last_part(value)) for name, value in own]
    if settings:
        yield "Settings that differ from embedft's defaults:\n"
        yield from _table(("field", "value"), settings)
        yield ""
    found = record.run.get("environment") or {}
    versions = found.get("versions") or {}
    rows = [(name, found[name]) for name in ("python", "processor", "threads") if name in found]
    yield from _table(("environment", ""), [*rows, *versions.items()])
    prints = [("model", record.run.get("fingerprint")), ("base", record.run.get("base_fingerprint"))]
    for name, value in prints:
        if value:
            yield f"\nFingerprint of the {name}: `{value}`."


def _limits(record: RunRecord, encoder: EncoderFacts) -> Iterator[str]:
    yield f"- The scores are of {_safe(data_name(record))}; other texts may give others. Measure on your own."
    if record.metrics.get("split") == "dev":
        yield "- There was no test split: dev chose the step and judged it, so the gain is optimistic."
    found = str((record.comparison.get(record.metric) or {}).get("verdict") or "")
    if found == "no difference":
        yield "- No difference to its base was shown: there may be no reason to prefer it."
    if encoder.max_length:
        yield f"- What stands after {encoder.max_length:,} tokens of a text is not read."
    if encoder.language is None:
        yield "- It is not known here which languages the base knows."
    if encoder.licence is None:
        yield "- The licence of the base is not known here; look it up before you pass the model on."
    yield "- It has the biases of its base and of the texts it was trained on; nobody looked for them."


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_safe(value) for value in row)} |"


def _safe(value: Any) -> str:
    """Text that neither ends a table's cell nor becomes HTML."""
    told = " ".join(str(value).split())
    for sign in "\\|<>`[]":
        told = told.replace(sign, f"\\{sign}" if sign not in "<>" else {"<": "&lt;", ">": "&gt;"}[sign])
    return told


def _code(value: str) -> str:
    """Text that stands in code."""
    return " ".join(value.split()).replace("`", "'").replace('"', "'") + (" " if value.endswith(" ") else "")
