"""What texts of users may hold, and what standard output may not."""

import json
import os
import subprocess
import sys

from click.testing import CliRunner

from embedft.cli.output import print_hits, without_controls
from embedft.cli.train import train
from embedft.config import field_names
from embedft.index import Hit
from embedft.index.lexical import Passage


def test_control_codes_of_a_document_do_not_reach_the_terminal(capsys):
    hit = Hit("d\x1b[31m1", 0.5, "title\x1b]0;x\x07", "text \x1b[2J\x9b31m of it\nand \t more \x7f", {})
    print_hits("query\x1b[2J", [hit], [Passage(hit.text, 0, len(hit.text), [(0, 4)])], 1, filtered=False, documents=1)
    shown = capsys.readouterr().out
    assert not {sign for sign in shown if ord(sign) < 32 or 127 <= ord(sign) < 160} - {"\n"}
    for part in ("query�[2J", "d�[31m1", "title�]0;x�", "text �[2J�31m of it and   more �"):
        assert part in shown
    assert len(without_controls(hit.text)) == len(hit.text)


def test_an_output_that_is_no_utf8_gets_numbers_for_what_it_cannot_hold(tmp_path):
    code = """
import sys
from embedft.cli.main import cli, main
from embedft.cli.output import console, print_json
@cli.command()
def shown():
    console().print("0.5ᵃ\\udcff")
    print_json({"text": "ᵃ 👩 ä"})
main(["shown"])
"""
    for encoding, first in (("ascii", b"0.5\\u1d43\\udcff"), ("utf-8", "0.5ᵃ\\udcff".encode())):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == first and json.loads(lines[1]) == {"text": "ᵃ 👩 ä"}


def test_the_fields_of_a_configuration_are_told_as_json():
    done = CliRunner().invoke(train, ["--fields", "--json"])
    fields = json.loads(done.stdout)["fields"]
    assert [field["field"] for field in fields] == field_names()
    found = {field["field"]: field for field in fields}
    assert (found["data.path"]["required"], found["data.path"]["default"]) == (True, None)
    assert (found["data.unknown_ids"]["required"], found["data.unknown_ids"]["default"]) == (False, "error")
