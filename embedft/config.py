"""RunConfig: every setting of a run, with one name in YAML, on the command line and in Python."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedft.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False, protected_namespaces=())


class DataConfig(_Section):
    """What is read, and what happens to rows and queries that should not be there."""

    path: Path = Field(description="BEIR folder, folder of pairs, or file of pairs")
    unknown_ids: Literal["error", "drop"] = Field("error", description="qrels that name ids which do not exist")
    max_bad: Share = Field(0.05, description="share of bad rows a file may have")
    leakage: Literal["report", "drop", "fail"] = Field(
        "report", description="training queries that are judged in another split: report, drop the rows, or fail"
    )
    dev_share: Share = Field(0.1, description="share of the training queries held out if there is no dev split")


class ModelConfig(_Section):
    """The encoder to start from."""

    name: str = Field("bundled", description="folder, hub name, or 'bundled'")
    max_length: Positive | None = Field(None, description="tokens; longer texts are cut")
    truncate_dim: Positive | None = Field(None, description="cut vectors to their first dimensions")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bf16 where it is fast")
    device: str | None = Field(None, description="cpu, cuda, ...; a GPU if there is one")
    query_prompt: str | None = Field(None, description="put before each query; by default the model's own")
    document_prompt: str | None = Field(None, description="put before each document; by default the model's own")

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts that are set here."""
        named = {"query": self.query_prompt, "document": self.document_prompt}
        return {name: prompt for name, prompt in named.items() if prompt is not None}


class TrainingConfig(_Section):
    """How it is trained: AdamW, linear schedule with warm-up, the best step on dev kept."""

    loss: str | None = Field(None, description="see embedft.training.losses; by default the task's own")
    loss_options: dict[str, float] = Field(default_factory=dict, description="of the loss, for example scale")
    epochs: Annotated[float, Field(gt=0)] | None = Field(
        None, description="passes over the pairs; by default 1, for small sets as many as make 100 steps, at most 10"
    )
    max_steps: Positive | None = Field(None, description="stop after this many steps; overrides epochs")
    batch_size: Annotated[int, Field(gt=1)] = Field(64, description="pairs a step")
    gradient_cache: bool = Field(
        False, description="embed in chunks, twice: large batches in little memory (arXiv:2101.06983)"
    )
    max_length: Annotated[int, Field(ge=8)] = Field(
        256, description="tokens a text in training; the encoder itself keeps model.max_length"
    )
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="peak; by default 0.08 / hidden size: 2.1e-4 for the bundled encoder, 7.8e-5 at 1024"
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Share = Field(0.1, description="share of the steps")
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    eval_every: Positive | None = Field(None, description="steps between dev evaluations; by default 8 in all")
    patience: Positive = Field(3, description="dev evaluations without a gain before it stops")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class EvaluationConfig(_Section):
    """How steps are compared on dev, and what the run proves at its end."""

    metric: str | None = Field(None, description="chooses the best step; by default the task's own")
    metrics: list[str] | None = Field(None, description="computed at the end; by default the task's own")
    split: str | None = Field(None, description="judged at the end; by default test if there is one, else dev")
    dev_documents: Positive = Field(
        2000, description="documents that dev queries are ranked over during training: all relevant ones, others drawn"
    )


class RunConfig(_Section):
    """One training run."""

    task: str = "retrieval"
    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> RunConfig:
    """The configuration of a YAML file with ``overrides`` (dotted name -> value) laid over it.

    Raises:
        ConfigError: the file is missing or not YAML; a field is unknown, missing or of the wrong type.
    """
    values = read_yaml(path) if path is not None else {}
    for name, value in overrides.items():
        _lay(values, name.split("."), value)
    return validate_config(values, source=str(path) if path else "the command line")


def validate_config(values: Mapping[str, Any], *, source: str) -> RunConfig:
    """The configuration of nested values, with every fault named by its dotted field.

    Raises:
        ConfigError: a field is unknown, missing or of the wrong type.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(faults) + ".", hint=_hint(error.errors())) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """``training.epochs=3`` as ("training.epochs", 3); the value is read as YAML.

    Raises:
        ConfigError: there is no ``=``, or the value is not YAML.
    """
    import yaml

    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigError(f"--set {text}: needs the form name=value.", hint="for example --set training.epochs=3.")
    try:
        return name.strip(), yaml.load(value, Loader=_yaml_loader())
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML.", hint="put text in quotes.") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping of a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    import yaml

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_yaml_loader())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.", hint="check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: is not valid YAML: {' '.join(str(error).split())}", hint="mend that line."
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings.", hint="write fields such as 'task: retrieval', one a line.")
    return values


def _yaml_loader() -> Any:
    """YAML 1.1 reads ``1e-4`` as text; everybody means a number."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    return Loader


def _lay(values: dict[str, Any], parts: Sequence[str], value: Any) -> None:
    for part in parts[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(parts)}: {part} is not a section.", hint=_field_hint("."))
        values = inner
    values[parts[-1]] = value


def _describe(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown field {name!r}"
    if fault["type"] == "missing":
        return f"field {name!r} is missing"
    return f"field {name!r} is {fault['input']!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _hint(faults: Sequence[Any]) -> str:
    for fault in faults:
        if fault["type"] == "extra_forbidden":
            return _field_hint(".".join(str(part) for part in fault["loc"]))
    return "mend the named field."


def _field_hint(name: str) -> str:
    near = difflib.get_close_matches(name, field_names(), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "see 'embedft train --fields'."


def field_names() -> list[str]:
    """All dotted names of `RunConfig`."""
    names: list[str] = []
    for name, field in RunConfig.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names += [f"{name}.{inner}" for inner in section.model_fields]
        else:
            names.append(name)
    return names
