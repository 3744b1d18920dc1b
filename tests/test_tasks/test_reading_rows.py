"""What the tasks read: columns of any names, scores on a stated scale."""

import json

import pytest

from embedft.config import DataConfig
from embedft.errors import ConfigError, DataError
from embedft.tasks import get_task


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("retrieval", {"anchor": "left", "positive": "right"}),
        ("similarity", {"sentence1": "left", "sentence2": "right", "score": "mark"}),
        ("classification", {"text": "left", "label": "right"}),
    ],
)
def test_every_task_reads_columns_of_other_names(tmp_path, task, columns):
    path = written(tmp_path / "train.jsonl", [{"left": f"fern {n}", "right": f"moss {n}", "mark": n} for n in range(5)])
    with pytest.raises(DataError, match="cannot tell what the columns left, right, mark hold"):
        get_task(task).read(DataConfig(path=path))
    data = get_task(task).read(DataConfig(path=path, columns=columns))
    assert get_task(task).training_rows(data).num_rows == 5


def test_a_scale_is_stated_for_scores_alone(tmp_path):
    path = written(tmp_path / "s.jsonl", [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0, 20)])
    data = get_task("similarity").read(DataConfig(path=path, scale=(0, 40)))
    assert data.splits["train"]["score"].to_pylist() == [0, 0.5]
    for task in ("retrieval", "classification"):
        with pytest.raises(ConfigError, match=r"data\.scale"):
            get_task(task).read(DataConfig(path=path, scale=(0, 40)))
    with pytest.raises(DataError, match="the lower end comes first"):
        get_task("similarity").read(DataConfig(path=path, scale=(5, 0)))
