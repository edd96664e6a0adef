"""Instructions that a clip costs, counted by valgrind: the figure that repeats on a busy machine.

    python benches/instructions.py [--json FILE]

Counts those of AVX2, the widest vectors that valgrind knows, in the log-mel of a clip of 10 s at 16 kHz, its two views,
and the decoding of its WAV file. Needs cargo and valgrind.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = {"logmel": "samples → log-mel", "views": "log-mel → two views", "wav": "WAV → samples"}
ISA = "avx2"
FEW, MANY = 1, 17
"""Clips of the two runs whose difference counts."""


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    program = build()
    counts = {}
    print(f"| work on a clip, {ISA} | instructions |\n|---|---|")
    for kernel, work in KERNELS.items():
        counts[kernel] = (count(program, kernel, MANY) - count(program, kernel, FEW)) // (MANY - FEW)
        print(f"| {work} | {counts[kernel]:,} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"simd": ISA, "instructions": counts}, indent=2) + "\n", encoding="utf-8")


def build() -> Path:
    """Compile the program that runs the kernels, and return its path."""
    words = ["cargo", "build", "--release", "--quiet", "--package", "asd-dsp", "--example", "kernels"]
    words += ["--message-format", "json-render-diagnostics"]
    told = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    built = (json.loads(line) for line in told.stdout.splitlines())
    return Path(next(artifact["executable"] for artifact in built if artifact.get("executable")))


def count(program: Path, kernel: str, clips: int) -> int:
    """Return the instructions of a run."""
    words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, kernel, str(clips), ISA]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", told.stderr)
    if told.returncode or not found:
        raise SystemExit(f"valgrind: {told.stderr}")
    return int(found[1])


if __name__ == "__main__":
    main()
