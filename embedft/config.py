"""RunConfig: every setting of a run, with one name in YAML, on the command line and in Python."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from embedft.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
# Role of a column -> its name, or several (negatives); `embedft.data.roles` knows the roles.
ColumnNames = dict[
    str,
    Annotated[
        list[Annotated[str, Field(coerce_numbers_to_str=True)]],
        Field(min_length=1),
        BeforeValidator(lambda name: [name] if isinstance(name, str | int) else name),
    ],
]


SEE_FIELDS = "see 'embedft train --fields'."
# What a value should have been, in words of our own: kind of pydantic's fault -> expected.
EXPECTED = {
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected names with values, {name: value}",
    "model_type": "expected a section of fields",
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False, protected_namespaces=())


Options = dict[str, float | bool | str]


class MixedSet(_Section):
    """A further set of rows that the encoder is trained on beside the task's own."""

    path: Path
    columns: ColumnNames = Field(default_factory=dict)
    loss: str | None = None
    loss_options: Options = Field(default_factory=dict)


class DataConfig(_Section):
    """What is read, and what happens to rows and queries that should not be there."""

    path: Path = Field(description="BEIR folder; file, folder, pattern or hub name of rows")
    columns: ColumnNames = Field(
        default_factory=dict,
        description="role -> column of the rows, where names do not tell: {anchor: question, positive: answer}",
    )
    scale: tuple[float, float] | None = Field(
        None, description="of similarity scores: the lowest and the highest, where it is not found out"
    )
    unknown_ids: Literal["error", "drop"] = Field("error", description="qrels that name ids which do not exist")
    max_bad: Share = Field(0.05, description="share of bad rows a file may have")
    leakage: Literal["report", "drop", "fail"] = Field(
        "report", description="training queries that are judged in another split: report, drop the rows, or fail"
    )
    dev_share: Share = Field(0.1, description="share of the training queries held out if there is no dev split")
    also: list[MixedSet] = Field(
        default_factory=list,
        description="further training sets, each {path, columns, loss, loss_options}; see training.mixing_temperature",
    )


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


class HardNegativesConfig(_Section):
    """Which documents of the corpus become negatives; names and meaning as in `mine_hard_negatives`."""

    num_negatives: Positive = Field(1, description="for each pair, at most")
    range_min: Annotated[int, Field(ge=0)] = Field(0, description="skip this many of the nearest documents")
    range_max: Positive | None = Field(100, description="rank up to which negatives are taken")
    max_score: float | None = Field(None, description="similarity to the anchor at most")
    min_score: float | None = Field(None, description="similarity to the anchor at least")
    absolute_margin: float | None = Field(None, description="how much less similar than the positive, at least")
    relative_margin: float | None = Field(
        0.05, description="the same as a share of the positive's similarity (arXiv:2407.15831)"
    )
    sampling_strategy: Literal["top", "random"] = Field("top", description="of those left: the nearest, or any")
    near_duplicates: Share | None = Field(
        0.9, description="never a text so much alike a known positive (Jaccard index of shingles); null: not looked for"
    )
    guide: str | None = Field(None, description="encoder whose scores decide about margins and limits")
    cross_encoder: str | None = Field(None, description="cross-encoder whose scores decide about margins and limits")
    refresh_every: Positive | None = Field(None, description="mine again with the trained encoder every so many steps")


class LoraConfig(_Section):
    """Low-rank adapters, merged into the weights when the model is saved."""

    rank: Positive = 16
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: list[str] = Field(default_factory=list, description="names of linear layers; by default all of them")


class AnchorConfig(_Section):
    """Weights between the old encoder (0) and the new one (1), Wortsman et al. 2022, arXiv:2109.01903."""

    shares: list[Share] = Field(
        [0.25, 0.5, 0.75, 1.0], min_length=1, description="of the new weights; the best on dev is kept"
    )
    general: Path | None = Field(
        None, description="scored pairs for what must not be forgotten; by default bundled ones"
    )
    max_drop: Annotated[float, Field(ge=0)] = Field(
        0.02, description="Spearman that may be lost on the general set; shares that lose more are not chosen"
    )


class HeadConfig(_Section):
    """The classifier on pooled embeddings, for the task classification."""

    kind: Literal["logistic", "linear", "mlp"] = Field(
        "logistic", description="logistic: on frozen or contrastively trained vectors; linear, mlp: trained end to end"
    )
    hidden: Positive = Field(256, description="of the mlp")
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    regularisation: Annotated[float, Field(gt=0)] | None = Field(
        None, description="C of the logistic head, larger fits closer; chosen by cross-validation if not given"
    )
    class_weight: Literal["balanced"] | None = Field(None, description="balanced: rare classes count as much as others")
    calibrate: bool = Field(
        True, description="fit a temperature on dev, if it is small on folds of train too (arXiv:1706.04599)"
    )
    in_scope: Share = Field(
        0.95, description="share of the texts of a class that the out-of-scope threshold lets pass; 0: no threshold"
    )


class TrainingConfig(_Section):
    """How it is trained: AdamW, linear schedule with warm-up, the best step on dev kept."""

    loss: str | None = Field(None, description="see docs/losses.md; by default the task's own")
    loss_options: Options = Field(default_factory=dict, description="of the loss, for example scale")
    matryoshka: list[Positive] = Field(
        default_factory=list, description="also apply the loss to these first dimensions (arXiv:2205.13147)"
    )
    guide: str | None = Field(
        None, description="second encoder, for losses that ask one: gist (what is no negative), distil (what to learn)"
    )
    mixing_temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="of data.also: sets are drawn by rows ** (1 / temperature); 1: by size, large: evenly"
    )
    hard_negatives: HardNegativesConfig | None = Field(None, description="mined from the corpus before training")
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
    gradient_accumulation: Positive = Field(1, description="batches a step; in-batch negatives stay within a batch")
    gradient_checkpointing: bool = Field(False, description="compute activations twice, keep few: slower, less memory")
    lora: LoraConfig | None = Field(None, description="train low-rank updates alone (arXiv:2106.09685); needs peft")
    freeze: list[str] = Field(
        default_factory=list,
        description="embeddings, layers:N (the first N), documents (query-only: document vectors stay as they are)",
    )
    query_side: Literal["adapter", "tower"] = Field(
        "adapter", description="with freeze: documents, what is trained: a layer behind the encoder, or a copy of it"
    )
    anchor: AnchorConfig | None = Field(None, description="mix the new weights with the old, chosen on dev")
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="learning rate of each layer relative to the one above it, for example 0.9"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay of a running mean of the weights, which is judged and kept, for example 0.99"
    )
    report_to: list[str] = Field(
        default_factory=list, description="trackers: tensorboard, trackio, mlflow, wandb; none by default"
    )
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Share = Field(0.1, description="share of the steps")
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    eval_every: Positive | None = Field(
        None, description="steps between dev evaluations; by default 8 in all, fewer in runs of less than 50 steps"
    )
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
    report: bool = Field(
        True, description="look into the scores at the end: errors, geometry, forgetting, report.html (docs/evaluation)"
    )
    guard: Path | None = Field(
        None, description="scored pairs or a BEIR folder that must not be forgotten; by default bundled pairs"
    )
    ladder: bool = Field(False, description="in the report, what fewer dimensions and smaller storage cost")
    stress: bool = Field(False, description="in the report, what typos, wording and noise cost")


class RunConfig(_Section):
    """One training run."""

    task: str = "retrieval"
    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    head: HeadConfig = Field(default_factory=HeadConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> RunConfig:
    """The configuration of a YAML file with ``overrides`` (dotted name -> value) laid over it.

    Raises:
        ConfigError: the file is missing or not YAML; a field is unknown, missing or of the wrong type.
    """
    values = read_yaml(path) if path is not None else {}
    for name, value in overrides.items():
        lay(values, name, value)
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


def filled(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Nested values as JSON with every field that they leave out at its default; raises ConfigError."""
    return validate_config(values, source=source).model_dump(mode="json")


def parse_setting(text: str) -> tuple[str, Any]:
    """``training.epochs=3`` as ("training.epochs", 3); the value is read as YAML.

    Raises:
        ConfigError: there is no ``=``, or the value is not YAML.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise ConfigError(f"--set {text}: needs the form name=value.", hint="for example --set training.epochs=3.")
    return name.strip(), parse_value(value, source=f"--set {text}")


def parse_value(text: str, *, source: str) -> Any:
    """A value of the command line, read as YAML; raises ConfigError, about ``source``."""
    import yaml

    try:
        return yaml.load(text, Loader=_yaml_loader())
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: the value is not valid YAML.", hint="put text in quotes.") from error


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
    """YAML 1.1 reads ``1e-4`` as text, where everybody means a number, and keeps the last of two fields of one name."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in names:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                names.add(key.value)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
    )
    return Loader


def lay(values: dict[str, Any], name: str, value: Any) -> None:
    """Put a value into nested values under its dotted name; a section that is missing or off (null) is begun.

    Raises:
        ConfigError: a part of the name is not a section.
    """
    *sections, last = name.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        if not isinstance(values[section], dict):
            raise ConfigError(f"{name}: {section} is not a section.", hint=SEE_FIELDS)
        values = values[section]
    values[last] = value


def _describe(fault: Any) -> str:
    name = _name(fault)
    if fault["type"] == "extra_forbidden":
        return f"unknown field {name!r}"
    if fault["type"] == "missing":
        return f"field {name!r} is missing"
    expected = EXPECTED.get(fault["type"]) or f"{fault['msg'][:1].lower()}{fault['msg'][1:]}"
    return f"field {name!r} is {fault['input']!r}: {expected}"


def _hint(faults: Sequence[Any]) -> str:
    """How to mend the first fault; an unknown field goes before all others, which may follow from it."""
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    name, value = _name(fault), fault["input"]
    if fault["type"] == "extra_forbidden":
        return _field_hint(name)
    if fault["type"] == "missing" and name in ("data", "data.path"):
        return "name the data set: --data DATA, or 'data: {path: DATA}' in a configuration."
    if fault["type"] in ("list_type", "tuple_type"):
        return f"write it in brackets: {name}=[{value}] on the command line, '[{value}]' in a configuration."
    if fault["type"] == "model_type":
        first = next(iter(_level(name.split("."))), "NAME")
        return f"name a field of it: {name}.{first}=VALUE, or '{name}: {{{first}: VALUE}}' in a configuration."
    return "mend the named field."


def _name(fault: Any) -> str:
    return ".".join(str(part) for part in fault["loc"])


def _field_hint(name: str) -> str:
    """The field that an unknown one may stand for: one of the same section, else one of the same name elsewhere."""
    *sections, unknown = name.split(".")
    siblings = _level(sections)
    near = difflib.get_close_matches(unknown, siblings, n=1)
    if near or not siblings:
        return f"did you mean {'.'.join([*sections, *near])!r}?" if near else SEE_FIELDS
    elsewhere = {known.rpartition(".")[2]: known for known in reversed(field_names())}
    near = difflib.get_close_matches(unknown, elsewhere, n=1)
    return f"did you mean {elsewhere[near[0]]!r}?" if near else SEE_FIELDS


def _level(sections: Sequence[str]) -> list[str]:
    """The fields of a section; none where these names lead to none."""
    level: type[BaseModel] | None = RunConfig
    for name in sections:
        field = level.model_fields.get(name) if level else None
        level = _section(field.annotation) if field else None
    return list(level.model_fields) if level else []


def fields(section: type[BaseModel] | None = None, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Dotted name and description of every field of `RunConfig`, those of optional sections included."""
    for name, field in (section or RunConfig).model_fields.items():
        inner = _section(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", field
        else:
            yield from fields(inner, f"{prefix}{name}.")


def field_names() -> list[str]:
    """All dotted names of `RunConfig`."""
    return [name for name, _ in fields()]


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, also where it may be None."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and get_origin(annotation) is not list:
            return kind
    return None
