"""Near duplicates against datasketch and semhash on the same rows, and what a million rows cost in memory.

    python benchmarks/data.py [--rows 100000] [--rounds 5] [--million] [--dry]

Peers: datasketch's MinHash and MinHashLSH with as many permutations over the same shingles, each found pair checked by
nothing; semhash with static word vectors (the bundled encoder's own), which compares meaning, not form. ``--million``
reads, checks (near duplicates too), cleans, and cleans of near duplicates a million JSONL rows, one process each.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from environment import peak_memory_mb, summary, write_result
from texts import CORPUS

from embedft.data.near import BAND, BANDS, SHINGLE, THRESHOLD, near_pairs, normalised

MILLION = 1_000_000


def sentences() -> Iterator[str]:
    """The sentences of ``../shared/corpus``, file by file."""
    for path in sorted(CORPUS.glob("*.txt.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file)


def distinct_rows(count: int) -> list[str]:
    """Distinct normalised sentences, every tenth one, so that all sources are among them."""
    return list(islice(dict.fromkeys(normalised(text) for text in islice(sentences(), 0, None, 10)), count))


def embedft(rows: list[str]) -> int:
    """Texts that are near duplicates of an earlier one."""
    return len({int(later) for _, later in near_pairs(rows)})


def datasketch(rows: list[str]) -> int:
    """The same by ``MinHashLSH``: query, then insert."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=BAND * BANDS)
    found = 0
    for number, row in enumerate(rows):
        raw = row.encode()
        sketch = MinHash(num_perm=BAND * BANDS)
        sketch.update_batch({raw[place : place + SHINGLE] for place in range(max(len(raw) - SHINGLE + 1, 1))})
        found += bool(index.query(sketch))
        index.insert(number, sketch)
    return found


def semhash(rows: list[str]) -> int:
    """Those of which semhash finds an earlier one of cosine 0.95 or more."""
    from semhash import SemHash

    return len(SemHash.from_records(rows, model=_static_model()).self_deduplicate(threshold=0.95).filtered)


@cache
def _static_model() -> Any:
    from model2vec import StaticModel

    from embedft import Encoder

    modules = Encoder.load("bundled", precision="float32").sentence_transformer
    words = modules[0].auto_model.embeddings.tok_embeddings.weight.detach().numpy()
    return StaticModel(words, modules.tokenizer.backend_tokenizer)


VARIANTS: dict[str, Callable[[list[str]], int]] = {
    "datasketch MinHashLSH": datasketch,
    "semhash, static vectors": semhash,
    "embedft": embedft,
}


def measure(rows: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Rows of the table."""
    _static_model()  # loading it is not what is timed
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    found = {}
    for number in range(rounds):
        for name, run in VARIANTS.items():
            start = time.perf_counter()
            found[name] = run(rows)
            seconds[name].append(time.perf_counter() - start)
            print(
                f"round {number + 1}: {name:24} {seconds[name][-1]:7.2f} s, {found[name]:,} near duplicates", flush=True
            )
    ours = summary(seconds["embedft"])["median"]
    table = {}
    for name, values in seconds.items():
        table[name] = summary(values) | {"near_duplicates": found[name]}
        table[name]["of_embedft"] = table[name]["median"] / ours
        print(f"{name:24} {table[name]['median']:7.2f} s, {table[name]['of_embedft']:.1f} x embedft's time", flush=True)
    return table


STEPS = ("read", "check", "clean", "clean of near duplicates")


def million() -> dict[str, dict[str, float]]:
    """Seconds and peak memory of each step on a million JSONL rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(
                json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in islice(sentences(), MILLION)
            )
        table = {}
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--file", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            table[step] = json.loads(done.stdout.strip().splitlines()[-1])
            print(
                f"{step:24} {table[step]['seconds']:7.1f} s, peak {table[step]['peak_memory_mb']:,.0f} MB", flush=True
            )
    return table


def one_step(step: str, path: Path) -> None:
    """Run one step, print its seconds (reading included) and peak."""
    from embedft.data.check import check
    from embedft.data.clean import CleanConfig, clean
    from embedft.data.dataset import read_dataset

    start = time.perf_counter()
    data = read_dataset(path)
    if step == "check":
        check(data)
    elif step == "clean":
        clean(data, CleanConfig(duplicates="exact"))
    elif step == "clean of near duplicates":
        clean(data, CleanConfig(duplicates="near"))
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_memory_mb": peak_memory_mb()}))


def main() -> None:
    """Measure, print, write ``results/data.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--million", action="store_true", help="also the memory of a million rows")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        one_step(options.step, options.file)
        return
    if not CORPUS.is_dir():
        print(f"left out: there is no {CORPUS}")
        return
    rows = distinct_rows(options.rows)
    result = {"rows": len(rows), "threshold": THRESHOLD, "variants": measure(rows, options.rounds)}
    if options.million:
        result["million"] = million()
    if not options.dry:
        write_result("data", result)


if __name__ == "__main__":
    main()
