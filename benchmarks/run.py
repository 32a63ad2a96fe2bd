"""All benchmarks of the project, into one Markdown file: ``make bench``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.md"


def main() -> None:
    text = "# Benchmarks\n\nMade by `make bench`.\n\n"
    for script in ("bench_segment.py", "bench_start.py", "bench_choices.py", "bench_synthesis.py"):
        result = subprocess.run([sys.executable, HERE / script, *sys.argv[1:]], check=True, stdout=subprocess.PIPE)
        text += result.stdout.decode() + "\n"
        RESULTS.write_text(text, encoding="utf-8")
    for script in ("bench_batch.py", "bench_dicom.py", "bench_evaluation.py"):  # these have options of their own
        result = subprocess.run([sys.executable, HERE / script], check=True, stdout=subprocess.PIPE)
        text += result.stdout.decode() + "\n"
        RESULTS.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {RESULTS}")


if __name__ == "__main__":
    main()
