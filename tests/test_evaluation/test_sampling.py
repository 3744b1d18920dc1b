"""What is judged of many is drawn by its name; what means the same is told by one rule."""

from embedft.evaluation import geometry, stress
from embedft.evaluation.sampling import drawn_by_hash, same_in_meaning


def test_a_sample_is_bounded_and_does_not_depend_on_the_order():
    texts = [f"text {number}" for number in range(500)]
    drawn = {texts[row] for row in drawn_by_hash(texts, 50)}
    turned = texts[::-1]
    assert len(drawn) == 50
    assert {turned[row] for row in drawn_by_hash(turned, 50)} == drawn
    assert {texts[row] for row in drawn_by_hash(texts, 50, seed=1)} != drawn
    assert drawn_by_hash(texts[:50], 50).tolist() == list(range(50))


def test_broken_characters_are_drawn_as_well():
    assert len(drawn_by_hash([f"\ud800 {number}" for number in range(9)], 5)) == 5


def test_geometry_and_stress_have_one_rule_for_the_same_meaning():
    assert same_in_meaning([0.79, 4 / 5, 1.0]).tolist() == [False, True, True]
    assert geometry.clouds.same_in_meaning is stress.similarity.same_in_meaning is same_in_meaning
