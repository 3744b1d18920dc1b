"""Progress of long work: how fast it is, and how long it will take."""

import pytest

from embedft.progress import progress


@pytest.fixture
def seconds(monkeypatch):
    """A clock that goes on by a second whenever it is read, and a line at each of them."""
    monkeypatch.setattr("embedft.progress.LOG_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("embedft.progress.time.monotonic", iter(range(100)).__next__)


def test_what_was_done_before_has_no_part_in_the_rate(seconds, capsys):
    with progress("encoding", 100, "texts", done=90) as advance:
        advance(5)
    assert capsys.readouterr().err == "encoding: 95/100 texts, 5.0/s, 1 s left\n"


def test_without_a_total_there_is_a_rate_alone(seconds, capsys):
    with progress("encoding", None, "texts") as advance:
        advance(5)
        advance(1)
    assert capsys.readouterr().err == "encoding: 5 texts, 5.0/s\nencoding: 6 texts, 3.0/s\n"
