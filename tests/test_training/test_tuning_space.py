"""What a search for settings goes through: written, checked, and made from a configuration."""

import json

import pytest
from conftest import GARDEN
from test_tuning import SPACE, config

from embedft import RunConfig
from embedft.errors import ConfigError
from embedft.training import tune
from embedft.training.tuning.space import (
    Choice,
    Range,
    check_space,
    default_space,
    parse_search,
    read_space,
    space_dict,
    space_of,
    value_of,
    with_values,
)
from embedft.training.tuning.tune import fill_in


def test_a_space_is_the_same_from_the_command_line_from_yaml_and_from_json(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "training.learning_rate: {low: 1e-5, high: 5e-4, log: true}\n"
        "training.batch_size: [16, 32, 64]\n"
        "training.epochs: {low: 1, high: 5}\n"
        "training.warmup: {low: 0.0, high: 0.2, step: 0.05}\n"
        "training.freeze: [[], [embeddings]]\n"
    )
    assert read_space(tmp_path / "space.yaml") == SPACE
    assert space_of(json.loads(json.dumps(space_dict(SPACE))), source="tune.json") == SPACE
    assert SPACE["training.epochs"].whole
    assert not SPACE["training.learning_rate"].whole


@pytest.mark.parametrize("text", ["-0.5..0.0", "-5..0", "0..5", "0.0..0.5:step=0.1"])
def test_a_range_that_ends_at_0_is_read_back_as_it_was_written(text):
    space = dict([parse_search(f"training.hard_negatives.min_score={text}")])
    assert space_of(json.loads(json.dumps(space_dict(space))), source="tune.json") == space


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("training.epochs", "needs the form"),
        ("training.freeze=[a", r"^--search training\.freeze=\[a: the value is not valid YAML"),
        ("training.epochs=5..1", "5 is not below 1"),
        ("training.epochs=1..5:lag", "has lag"),
        ("training.warmup=0.0..0.2:log", "log needs a low above 0"),
        ("training.epochs=1..5:step=9", "a step of 9 does not fit"),
        ("training.batch_size=16", "has 1 value"),
        ("training.batch_size=16,32,16", "names a value twice"),
    ],
)
def test_a_search_that_says_nothing_usable_is_refused(text, named):
    with pytest.raises(ConfigError, match=named):
        parse_search(text)


@pytest.mark.parametrize(
    ("text", "named", "hint"),
    [
        ("training.learnin_rate=1e-5..1e-4", "unknown field 'training.learnin_rate'", "training.learning_rate"),
        ("training.loss_options.scal=10.0..30.0", "which mnrl does not have", "training.loss_options.scale"),
        ("training.loss_options.scale=-5.0..30.0", "-5.0 is not a number above 0", "mend"),
        ("training.batch_size=1..64", "'training.batch_size' is 1", "mend"),
        ("training.batch_size=16.0..64.0", "holds fractions, the field whole numbers", "16..64"),
        ("training.warmup=0..1", "just two whole numbers", "0.0..1.0"),
        ("training.warmup=0.0..1.5", "'training.warmup' is 1.5", "mend"),
        ("head.kind=linear,forest", "'head.kind' is 'forest'", "mend"),
        ("training.seed=1..9", "decides what trials are judged on", "leave it out"),
        ("evaluation.metric=ndcg@10,mrr@10", "decides what trials are judged on", "leave it out"),
        ("data.dev_share=0.1,0.3", "decides what trials are judged on", "leave it out"),
    ],
)
def test_a_field_that_cannot_be_searched_is_refused_before_the_first_trial(text, named, hint, tmp_path):
    space = dict([parse_search(text)])
    with pytest.raises(ConfigError, match=named) as refused:
        check_space(space, config())
    assert hint in refused.value.hint
    with pytest.raises(ConfigError, match=named):
        tune(config(), tmp_path / "tune", trials=2, space=space)
    assert not (tmp_path / "tune").exists()


def test_an_option_is_searched_if_one_of_the_searched_losses_has_it():
    space = dict(map(parse_search, ("training.loss=mnrl,triplet", "training.loss_options.margin=0.1..0.5")))
    check_space(space, config())


def test_a_value_of_a_section_that_is_off_switches_it_on():
    check_space({"training.lora.rank": Choice((8, 32))}, config())
    assert with_values(config(), {"training.lora.rank": 8}, source="test").training.lora.rank == 8


def test_a_head_on_frozen_vectors_has_a_space_of_its_own(encoder):
    frozen = config(task="classification")
    assert fill_in(frozen, [100], encoder) == frozen, "it knows no learning rate"
    space = default_space(frozen, rows=100)
    assert list(space) == ["head.regularisation", "head.class_weight"]
    check_space(space, frozen)


def test_by_default_the_settings_around_those_of_the_configuration_are_searched(encoder):
    open_ended = RunConfig.model_validate({"data": {"path": str(GARDEN)}, "training": {"batch_size": 16}})
    filled = fill_in(open_ended, [56], encoder)
    assert filled.training.learning_rate == pytest.approx(0.08 / 384)
    assert filled.training.epochs == 10, "100 steps of 4 an epoch would be 25, of which 10 are the most"
    space = default_space(filled, rows=56)
    assert space == {
        "training.learning_rate": Range(4.2e-5, 1e-3, log=True),
        "training.batch_size": Choice((8, 16, 32)),
        "training.epochs": Range(5, 30),
        "training.warmup": Range(0.0, 0.2),
        "training.loss_options.scale": Range(8.0, 50.0, log=True),
    }
    check_space(space, open_ended)
    assert "training.epochs" not in default_space(fill_in(config(), [56], encoder), rows=56), "max_steps is set"
    more = fill_in(open_ended, [56, 160], encoder)
    assert more.training.epochs == 8, "4 and 10 steps an epoch: 8 epochs make 100 steps"


@pytest.mark.parametrize(("side", "rate"), [("adapter", 1e-3), ("tower", 0.08 / 384)])
def test_where_documents_are_frozen_the_search_begins_at_the_defaults_of_that(side, rate, encoder):
    training = {"freeze": ["documents"], "query_side": side, "batch_size": 8}
    filled = fill_in(RunConfig.model_validate({"data": {"path": str(GARDEN)}, "training": training}), [400], encoder)
    assert filled.training.learning_rate == pytest.approx(rate)
    assert filled.training.epochs == (10 if side == "adapter" else 2)
    assert value_of(filled, "training.loss_options.scale") == 50
    assert default_space(filled, rows=400)["training.loss_options.scale"] == Range(20.0, 120.0, log=True)
    training["loss_options"] = {"scale": 30.0}
    named = fill_in(RunConfig.model_validate({"data": {"path": str(GARDEN)}, "training": training}), [400], encoder)
    assert named.training.loss_options == {"scale": 30.0}
