"""Hostile files end in a message: random bytes, files cut off, files nested or inflated to fill the memory."""

import gzip
import json
import os
import random
import time
import zlib

import pytest

from embedft.data import source
from embedft.data.check import check
from embedft.data.dataset import read_dataset
from embedft.errors import DataError

ENDINGS = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".conll", ".jsonl.gz", ".csv.zst"]
# The longer run of the same: FUZZ_SECONDS=600 pytest -m slow tests/test_data/test_fuzz.py
SECONDS = float(os.environ.get("FUZZ_SECONDS", "30"))


def seeds(tmp_path):
    """A sound file of every kind, as bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": f"number {n} \u00fcber", "label": f"c{n % 3}"} for n in range(20)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "seed.parquet")
    with pa.OSFile(str(tmp_path / "seed.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    jsonl = "".join(json.dumps(row) + "\n" for row in rows).encode()
    text = "text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in rows)
    with pa.CompressedOutputStream(str(tmp_path / "seed.csv.zst"), "zstd") as stream:
        stream.write(text.encode())
    return {
        ".jsonl": jsonl,
        ".json": json.dumps(rows).encode(),
        ".csv": text.encode(),
        ".tsv": text.replace(",", "\t").replace('"', "").encode("utf-16"),
        ".parquet": (tmp_path / "seed.parquet").read_bytes(),
        ".arrow": (tmp_path / "seed.arrow").read_bytes(),
        ".conll": b"Anna\tB-per\nsmiles\tO\n\nParis\tB-loc\n" * 5,
        ".jsonl.gz": gzip.compress(jsonl),
        ".csv.zst": (tmp_path / "seed.csv.zst").read_bytes(),
    }


def broken(content, draw):
    """``content`` after one of the accidents that befall files."""
    kind = draw.randrange(5)
    if kind == 0:
        return draw.randbytes(draw.randrange(2000))
    if kind == 1:
        return content[: draw.randrange(len(content))]
    if kind == 2:
        many = bytearray(content)
        for _ in range(draw.randrange(1, 9)):
            many[draw.randrange(len(many))] = draw.randrange(256)
        return bytes(many)
    if kind == 3:
        begin = draw.randrange(len(content))
        return content[:begin] + content[begin : begin + draw.randrange(200)] * draw.randrange(2, 9) + content[begin:]
    depth = draw.randrange(1, 200_000)
    return b'{"text": ' + b"[" * depth + b'"x"' + b"]" * draw.randrange(depth) + b"}\n"


def attempt(path, content):
    path.write_bytes(content)
    try:
        check(read_dataset(path, max_bad=1))
    except DataError as error:
        assert error.message
        assert error.hint


def fuzz(tmp_path, seconds, seed):
    draw = random.Random(seed)
    sound = seeds(tmp_path)
    done, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        ending = draw.choice(ENDINGS)
        begin = time.monotonic()
        attempt(tmp_path / f"train{ending}", broken(sound[ending], draw))
        assert time.monotonic() - begin < 60, f"{ending}: hangs"
        done += 1
    return done


def test_broken_files_end_in_a_message(tmp_path):
    assert fuzz(tmp_path, 5, 0) > 20


@pytest.mark.slow
def test_broken_files_end_in_a_message_for_long(tmp_path):
    assert fuzz(tmp_path, SECONDS, random.SystemRandom().randrange(2**32)) > 20


def test_a_file_that_inflates_a_hundredfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "EXPANSION_FROM", 2**20)
    path = tmp_path / "train.jsonl.gz"
    packer = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        for _ in range(64):
            file.write(packer.compress((b" " * 1023 + b"\n") * 2**10))
        file.write(packer.flush())
    with pytest.raises(DataError, match="expands to more than"):
        read_dataset(path)


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_LINE", 2**20)
    path = tmp_path / "train.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * 2**21 + b'"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl:1: the line is longer than 1 MB"):
        read_dataset(path)
