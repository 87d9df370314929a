"""What a user waits for: loading through torch.hub against `import torch`, and `zoo list`.

python benchmarks/commands.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOAD = "import torch; torch.hub.load({root!r}, {system!r}, source='local', weights={tag!r})"
COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "torch.hub.load single_location manifold": [
        sys.executable,
        "-c",
        LOAD.format(root=str(ROOT), system="single_location", tag="manifold"),
    ],
    "torch.hub.load attention_memorizer table_h31": [
        sys.executable,
        "-c",
        LOAD.format(root=str(ROOT), system="attention_memorizer", tag="table_h31"),
    ],
    "zoo list": [sys.executable, "-m", "zoo", "list"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - start


def main(rounds: int = 9) -> None:
    """Interleaves the commands, after one warm-up round, and prints medians and ratios to `import torch`."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            taken = seconds(command)
            if number:
                times[name].append(taken)
    base = statistics.median(times["import torch"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:46} {median:6.2f} s   {median / base:5.2f} x import torch")


if __name__ == "__main__":
    main()
