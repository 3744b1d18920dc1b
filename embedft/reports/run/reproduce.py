"""Settings, surroundings, and how to get the same again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from embedft.config import RunConfig, fields
from embedft.reports.html import Html, element
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.record import RunRecord


def configuration(record: RunRecord) -> Iterator[str]:
    """The fields that differ from their defaults, and all of them folded."""
    defaults = _defaults()
    settings = dict(_dotted(record.config))
    yield paragraph("Fields that differ from their defaults:")
    yield table(("field", "value"), own_settings(record.config))
    rows = [
        (name, _shown(value), _shown(defaults.get(name)) if name in defaults else "")
        for name, value in settings.items()
    ]
    whole = table(("field", "value", "default"), rows, sortable=True, filtered="Filter fields")
    yield folded(f"All {len(rows)} fields", Html(whole))


def own_settings(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(dotted name, value) of the fields that differ from their defaults; a section may be there with its own alone."""
    own = _own(config)
    if own is None:
        defaults = _defaults()
        return [(name, _shown(value)) for name, value in _dotted(config) if value != defaults.get(name)]
    return [(name, "with its defaults" if value == {} else _shown(value)) for name, value in _dotted(own)]


def dotted_settings(config: dict[str, Any]) -> list[tuple[str, str]]:
    """(dotted name, value) of all fields."""
    return [(name, _shown(value)) for name, value in _dotted(config)]


def environment(record: RunRecord) -> Iterator[str]:
    """Versions, processor, threads, fingerprints."""
    found = record.run.get("environment") or {}
    rows = [(name, str(value)) for name, value in found.items() if not isinstance(value, Mapping)]
    rows += [(name, str(value)) for name, value in (found.get("versions") or {}).items()]
    prints = {
        "fingerprint of the base": record.run.get("base_fingerprint"),
        "fingerprint of the model": record.run.get("fingerprint") or record.metrics.get("fingerprint"),
    }
    rows += [(name, Cell(element("code", value), str(value))) for name, value in prints.items() if value]  # type: ignore[misc]
    if rows:
        yield table(("", ""), rows)
    else:
        yield paragraph("It was not recorded.")


def reproduce(record: RunRecord) -> Iterator[str]:
    """The commands, and the configuration as YAML."""
    name = record.name
    if record.run:
        yield paragraph("With the configuration below as ", element("code", "run.yaml"), " and the same versions:")
        commands = [["train", "run.yaml", "-o", name], ["report", name]]
    else:
        if "arguments" not in record.metrics:
            yield paragraph("How it was called was not recorded; what is known of it:")
        commands = [["evaluate", *(record.metrics.get("arguments") or _known(record)), "-o", name]]
    told = "\n".join(shlex.join(["embedft", *map(str, command)]) for command in commands)
    yield element("pre", element("code", told), tabindex="0")
    if record.run:
        yield folded("run.yaml", element("pre", element("code", as_yaml(record.config)), tabindex="0"))
        yield paragraph(
            "The same configuration, data, seed and number of threads give the same vectors on the same machine; the "
            "checksums of the data stand above.",
            kind="small",
        )


def _known(record: RunRecord) -> list[str]:
    """Arguments of ``embedft evaluate`` as far as the scores tell them."""
    found = record.metrics
    arguments = [found.get("model", ""), "--task", record.task, "--data", found.get("data", "")]
    arguments += ["--split", found.get("split", "test"), *(["--against", record.against] if record.against else [])]
    return [str(argument) for argument in arguments]


def as_yaml(config: dict[str, Any]) -> str:
    """The settings that differ from their defaults, as a configuration file."""
    import yaml

    own = _own(config)
    return str(yaml.safe_dump(config if own is None else own, sort_keys=False, allow_unicode=True))


def _own(config: dict[str, Any]) -> dict[str, Any] | None:
    """The settings that differ from their defaults; None of another version, with other fields."""
    try:
        return RunConfig.model_validate(config).model_dump(mode="json", exclude_defaults=True)
    except ValueError:
        return None


def _dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    known = {name for name, _ in fields()}
    for name, value in values.items():
        if isinstance(value, Mapping) and f"{prefix}{name}" not in known and value:
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _defaults() -> dict[str, Any]:
    """Dotted name -> default, as JSON would have it."""
    found = {name: field.get_default(call_default_factory=True) for name, field in fields()}
    return {
        name: value.model_dump(mode="json") if hasattr(value, "model_dump") else value for name, value in found.items()
    }


def _shown(value: Any) -> str:
    return "none" if value is None or value == [] or value == {} else str(value)
