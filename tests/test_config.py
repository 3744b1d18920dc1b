"""One setting, three doors: YAML, the command line, Python."""

import pytest

from embedft.config import field_names, filled, load_config, parse_setting
from embedft.errors import ConfigError


def test_yaml_and_overrides_give_one_configuration(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("task: retrieval\ndata: {path: here}\ntraining:\n  epochs: 2\n  learning_rate: 1e-4\n")
    config = load_config(file, dict([parse_setting("training.epochs=5"), parse_setting("training.seed=3")]))
    assert config.training.epochs == 5
    assert config.training.seed == 3
    assert config.training.learning_rate == 1e-4
    assert str(config.data.path) == "here"


def test_a_field_of_a_section_that_is_off_switches_it_on(tmp_path):
    file = tmp_path / "best.yaml"
    file.write_text("data: {path: here}\ntraining: {lora: null, epochs: 2}\nhead:\n")
    config = load_config(file, {"training.lora.rank": 8, "head.kind": "mlp"})
    assert (config.training.lora.rank, config.training.epochs, config.head.kind) == (8, 2, "mlp")
    with pytest.raises(ConfigError, match=r"training\.epochs\.rank: epochs is not a section"):
        load_config(file, {"training.epochs.rank": 8})


def test_set_reads_numbers_lists_and_text():
    assert parse_setting("a=3") == ("a", 3)
    assert parse_setting("a=2e-5") == ("a", 2e-5)
    assert parse_setting("a=[x, y]") == ("a", ["x", "y"])
    assert parse_setting("a=x=y") == ("a", "x=y")


@pytest.mark.parametrize(
    ("overrides", "named", "hint"),
    [
        ({"data.path": "d", "training.epoch": 3}, "'training.epoch'", "training.epochs"),
        ({"data.path": "d", "training.epochs": "many"}, "'training.epochs'", "mend"),
        ({"data.path": "d", "training.batch_size": 1}, "'training.batch_size'", "mend"),
        ({"data.path": "d", "training.seed": 5_000_000_000}, "'training.seed'", "mend"),
        ({"data.path": "d", "training.epochs": float("inf")}, "'training.epochs'", "mend"),
        ({}, "'data' is missing", "--data DATA"),
        ({"data.max_bad": 0.2}, "'data.path' is missing", "--data DATA"),
        ({"data": "d"}, "'data' is 'd': expected a section of fields", "data: {path: VALUE}"),
        ({"data.path": "d", "training.freeze": "documents"}, "expected a list", "training.freeze=[documents]"),
        ({"data.path": "d", "data.scale": "0,5"}, "expected a list", "data.scale=[0,5]"),
        ({"data.path": "d", "data.columns": "anchor=q"}, "expected names with values", "mend"),
        ({"data.path": "d", "data.columns": {"anchor": []}}, "'data.columns.anchor'", "mend"),
        ({"data.path": "d", "trainig.epochs": 1}, "'trainig'", "did you mean 'training'?"),
        ({"data.path": "d", "modle.name": "bundled"}, "'modle'", "did you mean 'model'?"),
        ({"data.path": "d", "training.lora.rnk": 2}, "'training.lora.rnk'", "did you mean 'training.lora.rank'?"),
        ({"data.path": "d", "batchsize": 8}, "'batchsize'", "did you mean 'training.batch_size'?"),
        ({"data.path": "d", "data.also": [{"path": "e", "lass": "mnrl"}]}, "'data.also.0.lass'", "--fields"),
        ({"data.path": "d", "tasc": "retrieval"}, "'tasc'", "task"),
    ],
)
def test_a_wrong_field_is_named_with_a_way_out(overrides, named, hint):
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    assert named in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["", "just words", "a: [", "- 1\n- 2\n"])
def test_a_broken_file_is_named(tmp_path, text):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(file, {})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml", {})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("data: {path: d}\ntraining: {epochs: 3}\ntraining: {seed: 1}\n", "'training' stands twice.*line 3, column 1"),
        ("data: {path: d}\ntraining:\n  seed: 1\n  seed: 2\n", "'seed' stands twice.*line 4, column 3"),
    ],
)
def test_a_field_that_stands_twice_is_refused(tmp_path, text, named):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_config(tmp_path / "run.yaml", {})


def test_field_names_are_those_of_the_sections():
    assert {"task", "data.path", "model.name", "training.epochs", "evaluation.metric"} <= set(field_names())


def test_columns_are_named_alone_or_several_and_kept_in_one_form():
    config = load_config(None, {"data.path": "d", **dict([parse_setting("data.columns.anchor=q")])})
    assert config == load_config(None, {"data.path": "d", "data.columns": {"anchor": ("q",)}})
    settings = filled({"data": {"path": "d", "columns": {"anchor": "q", "negative": ["n", 2]}}}, source="run.json")
    assert settings["data"]["columns"] == {"anchor": ["q"], "negative": ["n", "2"]}
    assert filled(settings, source="run.json") == settings


def test_a_record_that_lacks_a_field_has_it_at_its_default():
    earlier = filled({"data": {"path": "d", "also": [{"path": "e"}]}}, source="run.json")
    for section, name in (
        (earlier["data"], "columns"),
        (earlier["data"], "scale"),
        (earlier["data"]["also"][0], "columns"),
    ):
        del section[name]
    now = load_config(None, {"data.path": "d", "data.also": [{"path": "e"}]}).model_dump(mode="json")
    assert filled(earlier, source="run.json") == now
