"""What the numbers of a geometry are said to mean."""

import pytest

from embedft.evaluation.geometry.reading import reading

USUAL = {
    "texts": 2000, "dim": 384, "anisotropy": 0.05, "uniformity": -3.7, "alignment": 0.4, "effective_dimensions": 150.0,
    "first_component": 0.05, "hubness": 1.5,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, "point all round"),
        ({"anisotropy": 0.4}, "usual where all texts are about one subject"),
        ({"anisotropy": 0.9}, "a narrow cone, in which"),
        ({}, "150 effective dimensions of 384."),
        ({"texts": 31, "effective_dimensions": 20.0}, "(30 are possible with so few texts)"),
        ({"effective_dimensions": 12.0}, "few, so shorter vectors would do"),
        ({"first_component": 0.6}, "60 % of the variance lies along one direction"),
        ({"hubness": 9.0}, "hubness 9.0"),
        ({"effective_dimensions": None}, "the same vector"),
    ],
)
def test_one_model_is_read_by_what_is_usual(changed, says):
    assert says in " ".join(reading({**USUAL, **changed}, None))


def test_what_is_usual_gives_no_warning():
    assert len(reading(USUAL, None)) == 2
    assert reading(USUAL, USUAL) == reading(USUAL, None)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"alignment": 0.2}, "and only they (alignment 0.20 instead of 0.40"),
        ({"alignment": 0.2, "uniformity": -2.5}, "but so do all"),
        ({"alignment": 0.7}, "lie farther apart than with the other model, and only they"),
        ({"alignment": 0.7, "uniformity": -3.9}, "lie farther apart than with the other model, but so do all"),
        ({"uniformity": -3.0}, "All texts lie closer together"),
        ({"alignment": None, "uniformity": -3.9}, "All texts lie farther apart"),
        ({"effective_dimensions": 90.0}, "90 instead of 150"),
        ({"hubness": 9.0}, "hubness 9.0; below 5 is usual; 1.5 with the other model"),
    ],
)
def test_two_models_are_read_beside_each_other(changed, says):
    assert says in " ".join(reading({**USUAL, **changed}, USUAL))
