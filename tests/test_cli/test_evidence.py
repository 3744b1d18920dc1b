"""Pages of a run that has ended: whatever goes wrong with them, the run stands."""

import logging
import re

import pytest
import report_cases

import embedft.reports.run
from embedft.cli.evidence import write_pages
from embedft.errors import ArtifactError


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ArtifactError("metrics.json: is damaged."), "report: left out: metrics.json: is damaged."),
        (OSError(28, "No space left on device"), "report: left out: it cannot be written: .*No space left on device"),
        (KeyError("drop"), r"report: left out, by a fault of embedft \(KeyError: 'drop'\); the scores stand"),
    ],
)
def test_a_fault_of_a_page_is_told_and_ends_nothing(tmp_path, monkeypatch, caplog, fault, said):
    def write(folder):
        raise fault

    monkeypatch.setattr(embedft.reports.run, "write_report", write)
    with caplog.at_level(logging.DEBUG, logger="embedft"):
        write_pages(tmp_path)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1 and re.match(said, warned[0].getMessage())


def test_the_page_is_written_where_nothing_is_wrong(tmp_path):
    write_pages(report_cases.retrieval(tmp_path / "run"))
    assert (tmp_path / "run" / "report.html").is_file()
