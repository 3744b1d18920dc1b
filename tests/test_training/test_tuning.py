"""The search for settings: its space, its memory, and studies of real trials that are killed, resumed, and refused."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import GARDEN, heed_interrupts

from embedft import RunConfig
from embedft.encoder import BUNDLED_PATH
from embedft.errors import ArtifactError, ConfigError, DataError
from embedft.training import tune
from embedft.training.rundir import RunDirectory
from embedft.training.tuning.directory import TuneDirectory
from embedft.training.tuning.space import (
    Choice,
    parse_search,
)
from embedft.training.tuning.study import Trial, TrialStore, best_of, importance, is_weak, suggest
from embedft.training.tuning.trial import Watch, begun, read_log, run_apart
from embedft.training.tuning.tune import begun_with

QUICK = {"max_steps": 4, "batch_size": 16, "eval_every": 2}
SEARCHED = (
    "training.learning_rate=1e-5..5e-4:log",
    "training.batch_size=16,32,64",
    "training.epochs=1..5",
    "training.warmup=0.0..0.2:step=0.05",
    "training.freeze=[],[embeddings]",
)
SPACE = dict(map(parse_search, SEARCHED))


def config(path=GARDEN, **sections):
    values = {"data": {"path": str(path)}, "training": QUICK, "model": {"precision": "float32"}}
    for name, fields in sections.items():
        values[name] = {**values.get(name, {}), **fields} if isinstance(fields, dict) else fields
    return RunConfig.model_validate(values)


def quality(parameters):
    """What a trial would come to: the learning rate decides, best near 1.3e-4; long trainings cost a little."""
    return 1 - abs(math.log10(parameters["training.learning_rate"]) + 3.9) - 0.01 * parameters["training.epochs"]


def search(number, trials=(), seed=0, space=SPACE, judge=quality):
    """Trials up to ``number``, begun with ``trials``."""
    trials = list(trials)
    for place in range(len(trials), number):
        parameters = suggest(space, trials, seed, place)
        value = judge(parameters)
        state = "failed" if value is None else "complete"
        curve = () if value is None else ((10, value / 2), (20, value))
        trials.append(Trial(place, state, value, parameters, 1.5, None if value else "no memory", curve))
    return trials


# The search


def test_the_same_seed_draws_the_same_settings_also_where_it_was_interrupted():
    whole = search(24)
    assert search(24, trials=whole[:7]) == search(24, trials=whole[:17]) == whole
    assert search(3, seed=1) != whole[:3]


def test_a_search_finds_what_is_good_and_tells_which_field_made_it_good():
    trials = search(40)
    assert best_of(trials).value > best_of(trials[:10]).value
    shares = importance(SPACE, trials)
    assert max(shares, key=shares.get) == "training.learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert importance(SPACE, trials[:11]) is None


def test_values_stay_in_their_space():
    for trial in search(30):
        values = trial.parameters
        assert 1e-5 <= values["training.learning_rate"] <= 5e-4
        assert values["training.batch_size"] in (16, 32, 64)
        assert values["training.epochs"] in range(1, 6) and isinstance(values["training.epochs"], int)
        assert values["training.warmup"] in (0.0, 0.05, 0.1, 0.15, 0.2)
        assert values["training.freeze"] in ([], ["embeddings"])


def test_nothing_is_tried_twice_and_an_exhausted_space_is_told():
    space = {"training.batch_size": Choice((16, 32, 64)), "training.symmetric": Choice((False, True))}
    trials = search(6, space=space, judge=lambda parameters: parameters["training.batch_size"] / 64)
    assert len({json.dumps(trial.parameters) for trial in trials}) == 6
    assert suggest(space, trials, 0, 6) is None


def test_settings_that_fail_are_left():
    trials = search(60, judge=lambda values: None if values["training.batch_size"] == 64 else quality(values))
    tried = [trial.parameters["training.batch_size"] == 64 for trial in trials]
    assert sum(tried[30:]) < sum(tried[:30])


def test_a_configuration_outside_the_space_is_no_obstacle():
    first = Trial(
        0, "complete", 0.9, {**search(1)[0].parameters, "training.learning_rate": 0.5}, 1.0, None, ((1, 0.9),)
    )
    trials = search(14, trials=[first])
    assert best_of(trials).number == 0 or best_of(trials).value > 0.9
    assert importance(SPACE, trials) is not None


def trial_of(*curve):
    return Trial(0, "complete", max(curve), {}, 1.0, None, tuple(enumerate(curve, start=1)))


def test_a_trial_is_weak_below_the_median_of_enough_trials_that_came_as_far():
    others = [trial_of(0.3, 0.4 + place / 100, 0.5 + place / 100) for place in range(5)]
    assert is_weak([0.3, 0.41, 0.45], others)
    assert not is_weak([0.3, 0.43, 0.45], others[:3]), "a median of three says little"
    assert not is_weak([0.0], others), "the first evaluation is in the warm-up"
    assert not is_weak([0.3, 0.4, 0.52], others), "the median is not below the median"
    assert not is_weak([0.3, 0.6, 0.1], others), "the best so far counts, as it does in a run"
    assert not is_weak([0.1, 0.1, 0.1, 0.1], others), "nobody came as far"


# The memory


def test_trials_are_read_as_they_were_stored_also_below_an_odd_path(tmp_path):
    tmp_path = tmp_path / "100 % {odd}?x=1#"
    tmp_path.mkdir()
    trials = [*search(3), Trial(3, "failed", None, {"training.freeze": ["x"]}, 0.1, "ü" * 5000)]
    trials.append(Trial(4, "pruned", 0.25, trials[0].parameters, 2.0, "weak", ((3, 0.5), (6, 0.25))))
    store = TrialStore(tmp_path / "study.db", SPACE)
    for trial in trials:
        store.add(trial)
    store.close()
    assert TrialStore(tmp_path / "study.db", SPACE).trials() == trials


STORE_AND_TELL = """
import sys
from pathlib import Path
from test_tuning import SPACE, search
from embedft.training.tuning.study import TrialStore
store = TrialStore(Path(sys.argv[1]), SPACE)
for trial in search(9) * 1000:
    store.add(trial)
    print("stored", flush=True)
"""


@pytest.mark.slow
def test_no_trial_that_was_stored_is_lost_by_a_kill(tmp_path):
    told = 0
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", STORE_AND_TELL, tmp_path / "study.db"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        for _ in range(3):
            child.stdout.readline()
        child.kill()
        told += 3 + len(child.stdout.read().splitlines())
        child.wait()
        found = TrialStore(tmp_path / "study.db", SPACE).trials()
        assert 0 <= len(found) - told <= 1, "at most one was stored and not told any more"
        assert found == [search(9)[trial.number] for trial in found]
        told = len(found)


def test_a_damaged_memory_is_one_message(tmp_path):
    (tmp_path / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ArtifactError, match=r"study\.db: cannot be opened"):
        TrialStore(tmp_path / "study.db", SPACE)


def test_a_log_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path):
    (tmp_path / "log").write_text('{"step": 1, "eval_x": 0.5}\n{"step": 2, "eval_x": NaN}\n{"step": 3, "ev')
    assert [entry["step"] for entry in read_log(tmp_path / "log")] == [1, 2]
    assert read_log(tmp_path / "nothing") == []


# Studies of real trials


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of two trials."""
    seen = []
    space = dict(map(parse_search, ("training.learning_rate=1e-5..5e-4:log",)))
    result = tune(
        config(), tmp_path_factory.mktemp("tune") / "tune", trials=2, space=space,
        on_trial=lambda so_far: seen.append(len(so_far.trials)),
    )  # fmt: skip
    assert seen == [1, 2]
    return result


def record(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.slow
def test_trials_look_at_dev_and_the_best_is_judged_on_test(finished):
    assert [trial.state for trial in finished.trials] == ["complete", "complete"]
    for trial in finished.trials:
        run = record(finished.tune / "trials" / f"{trial.number:04d}")
        assert run["config"]["evaluation"]["split"] == "dev"
        assert run["best"]["value"] == trial.value
        assert run["base_value"] == finished.base_value
        assert [step for step, _ in trial.curve] == [2, 4]
    first, second = (record(finished.tune / "trials" / name)["config"]["training"] for name in ("0000", "0001"))
    assert first["learning_rate"] is None, "the configuration as it is"
    assert finished.trials[0].parameters["training.learning_rate"] == pytest.approx(0.08 / 384)
    assert second["learning_rate"] == finished.trials[1].parameters["training.learning_rate"]
    assert finished.final["split"] == "test"
    assert finished.final["comparison"]["ndcg@10"]["verdict"] in ("better", "no difference", "worse")
    best = record(finished.tune / "best")
    assert best["best"]["value"] == finished.best.value == max(trial.value for trial in finished.trials)


@pytest.mark.slow
def test_only_the_best_model_is_kept(finished):
    models = {path.parent.name for path in finished.tune.glob("trials/*/model")}
    assert models == {f"{finished.best.number:04d}"}
    assert len(list(finished.tune.glob("trials/*/train_log.jsonl"))) == 2


@pytest.mark.slow
def test_a_finished_study_is_read_again_and_other_settings_are_refused(finished):
    stamp = (finished.tune / "best" / "run.json").stat().st_mtime_ns
    again = tune(config(), finished.tune, trials=2, resume=True)
    assert again.as_dict() == finished.as_dict()
    assert (finished.tune / "best" / "run.json").stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match=r"seed was 0, now 7; training\.max_steps was 4, now 5"):
        tune(config(training={"max_steps": 5}), finished.tune, trials=2, seed=7, resume=True)
    with pytest.raises(ArtifactError, match="exists already"):
        tune(config(), finished.tune, trials=2)


@pytest.mark.slow
def test_changed_data_is_refused(finished, garden, tmp_path):
    study = shutil.copytree(finished.tune, tmp_path / "tune")
    stored = json.loads((study / "tune.json").read_text())
    stored["config"]["data"]["path"] = str(garden)
    (study / "tune.json").write_text(json.dumps(stored))
    with (garden / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "new"}\n')
    with pytest.raises(ConfigError, match=r"data has changed since the study began: corpus\.jsonl"):
        tune(config(garden), study, trials=2, resume=True)


@pytest.mark.slow
def test_trials_that_fail_are_noted_and_do_not_end_the_study(tmp_path):
    space = {
        # cosent is refused for this task; at 1e6 the weights are no numbers after a step.
        "training.loss": Choice(("mnrl", "cosent")),
        "training.learning_rate": Choice((2e-4, 1e6)),
    }
    result = tune(config(), tmp_path / "tune", trials=4, space=space)
    by_values = {tuple(trial.parameters.values()): trial for trial in result.trials[1:]}
    refused = [trial for (loss, _), trial in by_values.items() if loss == "cosent"]
    assert {trial.state for trial in refused} == {"failed"}
    assert all("training.loss is 'cosent'" in trial.reason for trial in refused)
    assert result.final is not None
    assert len(result.trials) == 4
    for trial in result.trials:
        assert trial.state != "complete" or trial.value >= result.base_value


def test_a_trial_that_is_too_slow_or_killed_is_noted(tmp_path):
    slow = run_apart(config(), tmp_path / "slow", "ndcg@10", timeout=0.01)
    assert (slow.state, slow.value) == ("failed", None)
    assert slow.reason.startswith("took longer than")
    assert processes_of(tmp_path) == []

    def kill():
        while not (found := processes_of(tmp_path / "killed")):
            time.sleep(0.02)
        found[0].kill()

    threading.Thread(target=kill, daemon=True).start()
    killed = run_apart(config(), tmp_path / "killed", "ndcg@10")
    assert killed.state == "failed"
    assert killed.reason.startswith("was ended by SIGKILL, probably for lack of memory")


@pytest.mark.slow
def test_a_weak_trial_is_ended_and_its_last_value_kept(tmp_path):
    weak = run_apart(config(), tmp_path / "weak", "ndcg@10", weak=lambda curve: len(curve) == 1)
    assert (weak.state, len(weak.curve)) == ("pruned", 1)
    assert weak.curve[0] == (2, weak.value)
    assert "after 1 dev evaluations (step 2)" in weak.reason
    assert record(tmp_path / "weak")["status"] != "finished"


def test_a_dev_value_that_is_no_number_is_a_divergence(tmp_path):
    watch = Watch(tmp_path / "log", "x", None)
    assert not watch.stop()
    (tmp_path / "log").write_text(
        '{"step": 1, "eval_x": 0.5}\n{"step": 2, "eval_x": NaN}\n{"step": 3, "eval_x": 1.0}\n'
    )
    assert watch.stop()
    assert watch.curve == ((1, 0.5),)
    assert watch.diverged == "diverged: x on dev was nan at step 2"


def test_a_run_is_judged_alike_however_fast_it_is_read(tmp_path):
    lines = [json.dumps({"step": step, "eval_x": value}) + "\n" for step, value in enumerate((0.3, 0.2, 0.9, 0.1))]
    ends = []
    for at_once in (1, 2, 4):
        watch = Watch(tmp_path / "log", "x", lambda curve: curve[-1][1] == 0.2)
        for end in range(at_once, 5, at_once):
            (tmp_path / "log").write_text("".join(lines[:end]))
            watch.stop()
        ends.append((watch.curve, watch.weak_at))
    assert ends == [(((0, 0.3), (1, 0.2)), 1)] * 3


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="tuning needs optuna") as refused:
        tune(config(), tmp_path / "tune", trials=2)
    assert refused.value.hint == "pip install 'embedft[tune]'."


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"training": {"loss": "cosent"}}, r"^training\.loss is 'cosent'"),
        # Only trial 0 shows it: the study itself leaves devices to its trials.
        ({"model": {"device": "nothing"}}, r"cannot be trained as it is: device 'nothing' cannot be used here"),
    ],
)
def test_a_configuration_that_cannot_be_trained_is_refused_and_leaves_nothing(tmp_path, sections, said):
    with pytest.raises(ConfigError, match=said):
        tune(config(**sections), tmp_path / "above" / "tune", trials=2)
    assert not (tmp_path / "above").exists()


def test_data_without_a_train_split_is_refused_in_the_words_of_training(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 1}\n' * 9)
    with pytest.raises(DataError, match="has no split train, only test"):
        tune(config(tmp_path / "data", task="similarity"), tmp_path / "tune", trials=2)
    assert not (tmp_path / "tune").exists()


def test_trial_0_is_told_with_the_epochs_of_the_rows_that_are_left_to_train_on(tmp_path):
    # Of 1,300 pairs a tenth becomes dev: 19 batches of 64 an epoch, where all of them would make 21.
    lines = "".join(f"what is the number {n},the number {n} is {n * n} squared\n" for n in range(1300))
    (tmp_path / "pairs.csv").write_text("anchor,positive\n" + lines)
    settings = {"max_steps": None, "batch_size": 64, "learning_rate": 1e-4}
    settings = begun_with(config(tmp_path / "pairs.csv", training=settings), None, 0, True, tmp_path / "none")
    assert settings["first"]["training.epochs"] == 6
    assert settings["space"]["training.epochs"] == {"low": 3, "high": 18}


def test_trial_0_is_told_with_the_epochs_of_the_triplets_that_mining_makes_of_rows(tmp_path):
    # 56 pairs with 4 negatives each: 56 batches of 4 an epoch, where the pairs alone would make 14.
    settings = {"max_steps": None, "batch_size": 4, "loss": "triplet", "hard_negatives": {"num_negatives": 4}}
    settings = begun_with(config(training=settings), None, 0, True, tmp_path / "none")
    assert settings["first"]["training.epochs"] == 2
    assert not (tmp_path / "none").exists()


def test_a_refused_study_leaves_the_one_that_it_was_to_replace(tmp_path):
    study = TuneDirectory(tmp_path / "tune")
    study.best.mkdir(parents=True)
    study.start({"config": {}, "space": {}, "seed": 0, "pruning": True, "data": {}, "first": {}})
    study.update(status="finished")
    model = shutil.copytree(BUNDLED_PATH, study.best / "model")
    rows = study.best / "rows.jsonl"
    rows.write_text('{"anchor": "a", "positive": "b"}\n')
    for sections, said in (
        # Only the model shows it.
        ({"training": {"freeze": ["layers:99"]}}, r"training\.freeze has 'layers:99'"),
        ({"model": {"name": str(model)}}, r"model\.name is .*best/model, which lies in .*tune, whose content"),
        ({"data": {"also": [{"path": str(rows)}]}}, r"data\.also\[0\]\.path is .*rows\.jsonl, which lies in"),
    ):
        with pytest.raises(ConfigError, match=said):
            tune(config(data={"path": str(GARDEN), **sections.pop("data", {})}, **sections), study.path, trials=2,
                 force=True)  # fmt: skip
        assert study.read()["status"] == "finished"
        assert model.is_dir()


def test_the_lock_of_a_directory_without_a_study_stays_if_it_was_there(tmp_path):
    (tmp_path / ".lock").touch()
    with TuneDirectory(tmp_path).locked():
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


TUNE = """
import sys
from embedft import RunConfig
from embedft.training import tune
from embedft.training.tuning.space import parse_search
space = dict(map(parse_search, ("training.learning_rate=1e-5..5e-4:log", "training.batch_size=8,16")))
result = tune(RunConfig.model_validate_json(sys.argv[1]), sys.argv[2], trials=3, space=space,
              resume=sys.argv[3] == "resume", show_progress=True)
"""


def processes_of(folder):
    """Processes whose command names ``folder``."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


@pytest.mark.slow
def test_a_study_killed_in_the_middle_loses_no_finished_trial_and_ends_as_an_uninterrupted_one(tmp_path):
    def start(folder, how):
        command = [sys.executable, "-c", TUNE, config().model_dump_json(), folder, how]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)

    whole = start(tmp_path / "whole", "new")
    assert whole.wait() == 0, whole.stderr.read()
    study = tmp_path / "killed"
    child = start(study, "new")
    for line in child.stderr:
        if line.startswith("trial 1 (2 of 3): ndcg@10"):
            break
    child.kill()
    assert child.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while processes_of(study) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(study) == [], "the trial ends with its study"
    stored = TrialStore(study / "study.db", {}).trials()
    assert [trial.number for trial in stored] == [0]
    with pytest.raises(ArtifactError, match="unfinished study"):
        tune(config(), study, trials=3)
    resumed = start(study, "resume")
    for line in resumed.stderr:
        if line.startswith("trial 1"):
            break
    with pytest.raises(ArtifactError, match="another process is tuning"):
        tune(config(), study, trials=3, resume=True)
    assert resumed.wait() == 0, resumed.stderr.read()
    expected, found = (TrialStore(tmp_path / name / "study.db", {}).trials() for name in ("whole", "killed"))
    assert len(found) == 3
    assert found[0] == stored[0], "the finished trial is as it was"
    assert [(trial.parameters, trial.value, trial.curve) for trial in found] == [
        (trial.parameters, trial.value, trial.curve) for trial in expected
    ]
    metrics = [json.loads((tmp_path / name / "best" / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert metrics[0]["metrics"] == metrics[1]["metrics"]


def test_a_study_of_an_earlier_embedft_has_the_defaults_of_the_fields_that_it_did_not_know(tmp_path):
    settings = {"config": config().model_dump(mode="json"), "space": {}, "seed": 0, "pruning": True}
    stored = {**settings, "config": {**settings["config"], "evaluation": {"metrics": None}}, "data": {}, "first": {}}
    study = TuneDirectory(tmp_path)
    study.start(stored)
    study.check_settings(settings)
    with pytest.raises(ConfigError, match=r"training\.max_steps was 4, now 5"):
        study.check_settings({**settings, "config": config(training={"max_steps": 5}).model_dump(mode="json")})


def test_a_run_of_an_earlier_embedft_is_not_trained_again(tmp_path):
    run = RunDirectory(tmp_path)
    stored = config().model_dump(mode="json")
    for status, said in (("finished", "finished"), ("trained", "training")):
        run.record.write_text(json.dumps({"status": status, "config": {**stored, "evaluation": {"metrics": None}}}))
        assert begun(run, config()) == said
        assert begun(run, config(training={"max_steps": 5})) is None
    for damaged in ('{"status": "finished", "config": {"data": 3}}', '{"status": "finished"}', "[]"):
        run.record.write_text(damaged)
        assert begun(run, config()) is None
