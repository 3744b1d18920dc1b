"""Cold start: seconds from the start of the process to the first vector, and of what bounds it.

Each measurement is a process of its own with the files in the disk cache; variants take turns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from environment import summary, write_result

from embedft.encoder import BUNDLED_PATH

PEER = "sentence-transformers: first vector"
COMMANDS = {
    PEER: "from sentence_transformers import SentenceTransformer\n"
    f"SentenceTransformer({str(BUNDLED_PATH)!r}, device='cpu').encode(['a'])",
    "embedft: first vector": "from embedft.encoder import Encoder\nEncoder.load('bundled').encode(['a'])",
    "import torch": "import torch",
    "import sentence_transformers": "import sentence_transformers",
    "import transformers' ModernBertModel": "from transformers import ModernBertModel",
    "embedft --help": "from embedft.cli.main import main\nmain(['--help'])",
}


def seconds_of(code: str) -> float:
    """Wall time of a fresh interpreter that runs ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, write ``results/start.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for code in COMMANDS.values():
        seconds_of(code)
    for _ in range(options.rounds):
        for name, code in COMMANDS.items():
            seconds[name].append(seconds_of(code))
    rows = {name: summary(values) for name, values in seconds.items()}
    for name, row in rows.items():
        row["times_peer"] = rows[PEER]["median"] / row["median"]
        print(f"{name:38} {row['median']:6.2f} s [{row['min']:.2f} .. {row['max']:.2f}] {row['times_peer']:6.1f} x")
    if not options.dry:
        write_result("start", {"peer": PEER, "variants": rows})


if __name__ == "__main__":
    main()
