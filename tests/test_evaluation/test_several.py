"""Several systems: every pair is told as if alone but for Holm's correction, and different data is refused."""

import csv
import io
import json
import re
from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest

from embedft.cli.output import print_comparison, print_evaluation
from embedft.errors import ConfigError, DataError
from embedft.evaluation import (
    ClassificationEvaluation,
    RetrievalEvaluation,
    SimilarityEvaluation,
    compare,
    comparison_dict,
    ranking_of_run,
    several,
)
from embedft.evaluation.classification import OutOfScope
from embedft.evaluation.several import compare_several
from embedft.evaluation.significance import detectable_difference
from embedft.evaluation.tables import as_csv, as_latex, as_markdown

DIGEST = "a" * 64


def judged(model, scores, *, metrics=("ndcg@10", "mrr@10"), ids=None, **fields):
    ids = ids or [f"q{row}" for row in range(len(scores))]
    run = ranking_of_run({query: {"d": 1.0} for query in ids})
    per_query = {name: np.clip(scores + 0.01 * place, 0, 1) for place, name in enumerate(metrics)}
    fields = {"data_sha256": DIGEST, **fields}
    return RetrievalEvaluation(model, "garden", fields.pop("split", "test"), ids, per_query, run, **fields)


def drawn(seed, shift=0.0, count=60):
    hard = np.random.default_rng(0).random(count)
    return np.clip(0.7 * hard + 0.15 + shift + 0.05 * np.random.default_rng(seed).standard_normal(count), 0, 1)


@pytest.fixture(scope="module")
def three():
    return [judged("low", drawn(1)), judged("high", drawn(2, 0.1)), judged("twin", drawn(1) + 0.0)]


def test_every_pair_is_compared_as_if_alone_and_corrected_over_all_of_them(three):
    found = compare_several(["low", "high", "twin"], three)
    assert len(found.comparisons) == 3 * 2
    alone = {
        (one, two, name): value
        for one, two in ((0, 1), (0, 2), (1, 2))
        for name, value in three[one].compare(three[two]).items()
    }
    p_values = np.array([alone[key].p_value for key in found.comparisons])
    order = np.argsort(p_values)
    holm = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(6, 0, -1)), 1)
    for key, adjusted in zip(np.array(list(found.comparisons), object)[order], holm, strict=True):
        own = found.comparisons[tuple(key)]
        assert own.difference == alone[tuple(key)].difference
        assert own.p_adjusted == pytest.approx(adjusted)


def test_of_two_systems_the_first_metric_is_tested_alone_and_the_others_together():
    names = ("recall@10", "ndcg@10", "mrr@10", "map@10")
    own, other = judged("own", drawn(1, 0.04), metrics=names), judged("other", drawn(2), metrics=names)
    found = compare_several(["own", "other"], [own, other])
    assert found.alone == "recall@10" and found.compared(0, 1, "recall@10").p_adjusted is None
    raw = [value.p_value for value in own.compare(other).values()]
    adjusted = [found.compared(0, 1, name).p_adjusted for name in names[1:]]
    assert min(adjusted) == pytest.approx(3 * min(raw[1:]))
    # As train and evaluate say it.
    assert compare(own, other) == {name: found.compared(0, 1, name) for name in names}
    assert (
        "recall@10 by itself at p < 0.05, the other 3 metrics corrected together by Holm; p is shown after it."
        in found.legend
    )
    assert found.as_dict()["alone"] == "recall@10" and found.legend in as_markdown(found).replace("&lt;", "<")
    named = compare_several(["own", "other"], [own, other], metrics=["mrr@10", "ndcg@10"])
    assert named.alone == "mrr@10"
    assert named.compared(0, 1, "ndcg@10").p_adjusted == named.compared(0, 1, "ndcg@10").p_value


def test_what_could_be_seen_is_what_could_be_seen_after_the_correction(three):
    found = compare_several(["low", "high", "twin"], three)
    alone = three[0].compare(three[1])["ndcg@10"]
    deviation = alone.difference / alone.effect_size
    own = found.compared(0, 1, "ndcg@10").detectable
    assert own == pytest.approx(detectable_difference(60, deviation, alpha=0.05 / 6))
    assert own > 1.2 * alone.detectable
    assert "80 % power at p < 0.05, corrected for 6 tests" in found.reading("ndcg@10")
    pair = compare_several(["low", "high"], three[:2])
    assert pair.compared(0, 1, "ndcg@10").detectable == alone.detectable
    assert "corrected" not in pair.reading("ndcg@10")


def test_intervals_and_tallies_are_made_once(monkeypatch):
    asked = []
    own = ClassificationEvaluation.intervals
    monkeypatch.setattr(ClassificationEvaluation, "intervals", lambda each: asked.append(each.model) or own(each))
    tallied = ClassificationEvaluation.tally.func
    made = cached_property(lambda each: asked.append(f"tally of {each.model}") or tallied(each))
    made.__set_name__(ClassificationEvaluation, "tally")
    monkeypatch.setattr(ClassificationEvaluation, "tally", made)
    names = ["a", "b", "c"]
    found = compare_several(names, [labelled(name, seed) for seed, name in enumerate(names)])
    tallies = len(asked)
    for _ in range(2):
        assert found.as_dict()["systems"][2]["name"] == "c"
        as_csv(found)
    assert asked[tallies:] == names
    # Once as given, once with the metrics that are asked for, whatever the number of pairs and metrics.
    assert tallies <= 2 * len(names)


def test_many_systems_still_find_what_is_there(monkeypatch):
    # Ten thousand rounds cannot give less than 1 / 10,001: after 501 comparisons that is above 0.05.
    assert pytest.approx(0.01, rel=0.01) == several.MOST_AT_ONCE / (several.ROUNDS + 1)
    monkeypatch.setattr(several, "MOST_AT_ONCE", 3)
    systems = [judged(f"s{number}", drawn(number, 0.2 * (number == 0))) for number in range(3)]
    found = compare_several([each.model for each in systems], systems)
    assert found.compared(0, 1, "ndcg@10").p_value == pytest.approx(1 / 20_001)
    few = compare_several(["a", "b", "c"], [pairs(name, 1, np.arange(30)) for name in "abc"])
    many = replace(few, comparisons={(0, number, "spearman"): few.compared(0, 1, "spearman") for number in range(501)})
    assert "Name fewer metrics or systems" in many.legend and "Name fewer" not in few.legend + found.legend


def test_one_query_has_no_interval(capsys):
    own = judged("own", np.array([1.0]))
    assert all(np.isnan(end) for ends in own.intervals().values() for end in ends)
    answer = comparison_dict(own, None, {})
    assert answer["intervals"] == {"ndcg@10": [None, None], "mrr@10": [None, None]}
    print_evaluation(own, answer["intervals"])
    shown = capsys.readouterr().out
    assert "1 query" in shown and "no interval" in shown
    one = labelled("one", 1, count=1)
    assert np.isnan(one.intervals()["accuracy"]).all()


def test_wins_are_shown_of_the_metric_that_they_are_of(capsys):
    weak, strong = labelled("weak", 1), labelled("strong", 9)
    print_comparison(strong, weak, compare(strong, weak))
    one, two = pairs("one", 1, np.arange(30)), pairs("two", 2, np.arange(30))
    print_comparison(one, two, compare(one, two))
    rows = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    counted = {name: "/" in line for name, line in rows.items()}
    assert counted == {"accuracy": True, "ece": False, "spearman": True, "pearson": False}


def test_two_splits_of_one_folder_are_told_as_that():
    systems = [judged("own", drawn(1)), judged("other", drawn(2), split="dev", data_sha256="b" * 64)]
    with pytest.raises(DataError) as caught:
        compare_several(["own", "other"], systems)
    assert caught.value.message == "own was judged on split test, other on split dev."


def test_there_may_be_more_systems_than_letters():
    scores = drawn(1, count=6)
    names = [f"system {number}" for number in range(27)]
    found = compare_several(names, [judged(name, scores) for name in names], metrics=["ndcg@10"])
    assert found.letters[23:] == ("y", "z", "a2", "b2") and len(set(found.letters)) == 27


def test_the_superscripts_name_those_that_a_row_is_better_than(three):
    found = compare_several(["low", "high", "twin"], three)
    assert [found.better_than(system, "ndcg@10") for system in range(3)] == [[], [0, 2], []]
    assert found.best("ndcg@10") == [1]
    assert found.compared(1, 0, "ndcg@10").difference == -found.compared(0, 1, "ndcg@10").difference > 0
    assert found.compared(1, 0, "ndcg@10").wins == found.compared(0, 1, "ndcg@10").losses


def test_identical_systems_are_no_difference_and_both_best(three):
    found = compare_several(["one", "two"], [three[0], three[2]])
    assert found.best("ndcg@10") == [0, 1]
    comparison = found.compared(0, 1, "ndcg@10")
    assert (comparison.verdict, comparison.difference, comparison.p_value) == ("no difference", 0, 1)
    assert "the systems answer alike" in found.reading("ndcg@10")
    for text in (as_markdown(found), as_latex(found), as_csv(found), json.dumps(found.as_dict(), allow_nan=False)):
        assert "nan" not in text.lower()


def test_of_several_systems_it_is_said_on_how_many_queries_they_differ_at_most():
    same, one, two = np.full((3, 30), 0.5)
    one[:1], two[:2] = 0.9, 0.9
    found = compare_several(["a", "b", "c"], [judged("a", same), judged("b", one), judged("c", two)])
    said = "The systems differ on at most 2 of 30 queries, too few for any test, corrected for 6 tests"
    assert said in found.reading("ndcg@10")
    # None of them varies: all queries differ by the same.
    shifted = [judged(str(by), same + by) for by in (0, 0.1, 0.2)]
    alike = compare_several(["a", "b", "c"], shifted)
    assert "all systems differ alike" in alike.reading("ndcg@10")


def test_a_metric_that_is_named_twice_is_shown_once(three):
    found = compare_several(["low", "high"], three[:2], metrics=["mrr@10", "ndcg@10", "mrr@10"])
    assert found.metrics == ("mrr@10", "ndcg@10") and len(found.comparisons) == 2


def test_three_queries_are_compared_and_show_nothing():
    found = compare_several(["a", "b"], [judged("a", np.array([0.1, 0.2, 0.3])), judged("b", np.array([0.8, 0.9, 1]))])
    assert found.better_than(1, "ndcg@10") == []
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_metric_that_is_no_number_is_left_out_of_the_comparison_not_the_others(three):
    broken = replace(three[1], per_query={**three[1].per_query, "mrr@10": np.full(60, np.nan)})
    found = compare_several(["low", "high"], [three[0], broken])
    assert found.compared(1, 0, "mrr@10") is None
    assert found.compared(1, 0, "ndcg@10").verdict == "better"
    assert found.best("mrr@10") == [0]
    answer = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert answer["systems"][1]["metrics"]["mrr@10"]["score"] is None
    assert "not compared" in as_markdown(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data_sha256": "b" * 64}, "low was judged on garden (sha256 aaaaaaaaaaaa...), high on other data"),
        ({"split": "dev"}, "low was judged on split test, high on split dev"),
        ({"metrics": ("ndcg@10", "recall@5")}, "high has ndcg@10, recall@5"),
    ],
)
def test_systems_that_were_judged_differently_are_refused_unless_that_is_allowed(change, says):
    systems = [judged("low", drawn(1)), judged("high", drawn(2, 0.1), **change)]
    with pytest.raises(DataError) as caught:
        compare_several(["low", "high"], systems)
    assert says in caught.value.message and "--allow-different" in caught.value.hint
    found = compare_several(["low", "high"], systems, allow_different=True)
    assert found.compared(1, 0, "ndcg@10").verdict == "better"
    assert says in found.differs[0]
    assert says.split("(")[0] in as_latex(found)
    if "metrics" in change:
        assert found.metrics == ("ndcg@10",)
        assert compare_several(["low", "high"], systems, metrics=["ndcg@10"]).differs == ()


def test_where_different_data_is_allowed_the_shared_queries_are_compared_wherever_they_stand():
    scores = drawn(1)
    own = judged("own", scores)
    order = np.random.default_rng(1).permutation(60)[:40]
    other = judged("other", scores[order] + 0.1, ids=[f"q{row}" for row in order], data_sha256="b" * 64)
    found = compare_several(["own", "other"], [own, other], allow_different=True)
    assert found.evaluations[0].query_ids == found.evaluations[1].query_ids
    assert found.evaluations[0].count == 40
    assert found.compared(1, 0, "ndcg@10").losses == 0
    assert "share 40 queries; they judged 60 and 40" in found.differs[-1]
    nothing = judged("nothing", scores, ids=[f"x{row}" for row in range(60)], data_sha256="c" * 64)
    with pytest.raises(DataError, match="none of their queries in common"):
        compare_several(["own", "nothing"], [own, nothing], allow_different=True)


def pairs(model, seed, order):
    gold = np.linspace(0, 1, 30)
    cosines = np.clip(gold + 0.3 * np.random.default_rng(seed).standard_normal(30), -1, 1)
    texts = [(f"left {row // 2}", "right") for row in order]
    return SimilarityEvaluation(
        model, "sts", "test", ("spearman", "pearson"), texts, np.round(gold, 1)[order], cosines[order], DIGEST
    )


def test_pairs_in_another_order_are_the_same_pairs():
    first, second = np.arange(30), np.random.default_rng(3).permutation(30)
    straight = compare_several(["a", "b"], [pairs("a", 1, first), pairs("b", 2, first)])
    mixed = compare_several(["a", "b"], [pairs("a", 1, first), pairs("b", 2, second)])
    assert mixed.evaluations[1].metrics == pytest.approx(straight.evaluations[1].metrics)
    assert mixed.compared(0, 1, "spearman").difference == pytest.approx(straight.compared(0, 1, "spearman").difference)


def labelled(model, seed, classes=("a", "b", "c"), count=60):
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(0, 3, count)
    labels = np.zeros((count, 3), bool)
    chances = rng.dirichlet(np.ones(3), count)
    for row, label in enumerate(truth):
        column = classes.index("abc"[label])
        labels[row, column] = True
        if rng.random() < seed / 10:
            chances[row] = np.where(np.arange(3) == column, 0.8, 0.1)
    return ClassificationEvaluation(
        model, "intents", "test", ("accuracy", "ece"), classes, False, [f"t{row}" for row in range(count)], labels,
        chances, np.ones(count), None, 0.1, data_sha256=DIGEST,
    )  # fmt: skip


def test_heads_with_their_classes_in_another_order_are_compared_class_by_class():
    found = compare_several(["weak", "strong"], [labelled("weak", 1), labelled("strong", 9, ("c", "a", "b"))])
    assert found.evaluations[0].classes == found.evaluations[1].classes
    assert found.compared(1, 0, "accuracy").verdict == "better"


def with_outside(evaluation, order, threshold=0.5, text="strange {}"):
    """With 30 texts out of scope of which every other one is told as such, in this order."""
    outside = OutOfScope(
        [text.format(row) for row in order], [("b", "a") if row % 3 else ("a", "b") for row in order],
        np.asarray(order) % 2 * 1.0, np.full((30, 3), 1 / 3),
    )  # fmt: skip
    return replace(evaluation, threshold=threshold, out_of_scope=outside)


def test_texts_out_of_scope_are_paired_by_text_not_by_where_they_stand():
    order = np.random.default_rng(4).permutation(30).tolist()
    straight, mixed = with_outside(labelled("one", 1), list(range(30))), with_outside(labelled("two", 1), order)
    found = compare_several(["one", "two"], [straight, mixed]).compared(0, 1, "oos_recall")
    assert (found.wins, found.losses, found.ties) == (0, 0, 30)
    with pytest.raises(DataError, match="other texts"):
        straight.compare(mixed)


def test_other_texts_out_of_scope_are_never_paired():
    own = with_outside(labelled("own", 1), list(range(30)))
    fewer = with_outside(labelled("fewer", 1), list(range(20, 50)))
    found = compare_several(["own", "fewer"], [own, fewer])
    assert found.compared(0, 1, "oos_recall").ties == 10
    assert "share 10 texts out of scope; they judged 30 and 30" in found.differs[-1]
    others = with_outside(labelled("others", 1), list(range(30)), text="foreign {}")
    with pytest.raises(DataError, match="other texts"):
        own.compare(others)
    found = compare_several(["own", "others"], [own, others])
    assert found.compared(0, 1, "oos_recall") is None and found.compared(0, 1, "accuracy") is not None
    with pytest.raises(DataError, match="no metric in common"):
        compare_several(["own", "others"], [own, others], metrics=["oos_recall"])


def test_of_a_metric_of_which_less_is_better_the_lowest_is_best():
    found = compare_several(["weak", "strong"], [labelled("weak", 1), labelled("strong", 9)])
    errors = [found.score(system, "ece") for system in range(2)]
    assert found.best("ece") == [int(np.argmin(errors))]


def test_systems_of_two_tasks_or_without_a_name_of_their_own_are_refused(three):
    with pytest.raises(DataError, match="for retrieval, b for similarity"):
        compare_several(["a", "b"], [three[0], pairs("b", 1, np.arange(30))])
    with pytest.raises(ConfigError, match="two systems are named 'a'"):
        compare_several(["a", "a"], three[:2])
    with pytest.raises(ConfigError, match="1 system is named"):
        compare_several(["a"], three[:1])
    with pytest.raises(ConfigError, match="no system is named 'c'"):
        compare_several(["a", "b"], three[:2], baseline="c")
    with pytest.raises(ConfigError, match=r"a was not scored by map@7, only by ndcg@10, mrr@10"):
        compare_several(["a", "b"], three[:2], metrics=["map@7"])


NASTY = ["a|b_c", "50 % & $x$ {y}\n#1 ~^\\", "<i>*z*</i>"]


def test_markdown_and_latex_keep_their_shape_whatever_the_systems_are_called(three):
    found = compare_several(NASTY, three)
    rows = [line for line in as_markdown(found).splitlines() if line.startswith("|")]
    columns = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows]
    assert columns == [4] * 5 + [7] * 6
    assert "<i>" not in "".join(rows)
    text = as_latex(found)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert "#" not in bare and "~" not in bare and "%" not in bare
    widths = {line.count(" & ") for line in bare.splitlines() if line.endswith(r"\\")}
    assert widths == {3, 6}
    assert bare.count("$") % 2 == 0


def test_csv_has_a_row_a_system_and_metric_that_says_what_json_says(three):
    found = compare_several(["low", "high", "twin"], three)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(rows) == 6
    answer = found.as_dict()
    for row in rows:
        system = next(one for one in answer["systems"] if one["name"] == row["system"])
        assert float(row["score"]) == system["metrics"][row["metric"]]["score"]
        assert row["better_than"].split() == system["metrics"][row["metric"]]["better_than"]
    assert [row["verdict"] for row in rows if row["metric"] == "ndcg@10"] == ["", "better", "no difference"]


@pytest.mark.slow
def test_twenty_thousand_queries_are_compared():
    systems = [judged(f"s{seed}", drawn(seed, 0.005 * seed, count=20_000)) for seed in range(3)]
    found = compare_several([each.model for each in systems], systems)
    assert found.better_than(2, "ndcg@10") == [0, 1]
