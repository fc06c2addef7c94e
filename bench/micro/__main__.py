"""Time the parts: `python -m tidings.bench.micro FILE SIZES [EXPRESSION]`.

Writes pytest-benchmark's results to FILE. Says on standard output, one JSON object a line (`results.py`),
how far it is; what pytest prints goes to standard error. EXPRESSION chooses cases as pytest's `-k` does.
"""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from tidings.bench.micro.results import Over, Sizes

HERE = Path(__file__).resolve().parent

# A round of less would be told apart from the next one by the clock more than by what it measures, and a
# hundred thousand rounds of each part take longer to sum up than to run.
ROUND_SECONDS = 0.0001


def main() -> None:
    """Run pytest in a world of its own."""
    file, sizes, *expression = sys.argv[1:]
    wanted = msgspec.json.decode(sizes, type=Sizes)
    # Whoever runs this may be a test himself, with settings and workers that are not ours.
    for name in [name for name in os.environ if name.startswith("PYTEST")]:
        del os.environ[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    told = os.dup(1)
    os.dup2(2, 1)
    status = pytest.main(
        [
            f"--rootdir={HERE}",
            f"-c{HERE / 'pytest.ini'}",
            "-p",
            "pytest_benchmark.plugin",
            f"--benchmark-json={file}",
            f"--benchmark-max-time={wanted.seconds}",
            f"--benchmark-min-time={ROUND_SECONDS}",
            # CPU time, as everywhere in these benchmarks: others on the same core do not count.
            "--benchmark-timer=time.process_time",
            f"--benchmark-min-rounds={wanted.rounds}",
            f"--micro-sizes={sizes}",
            f"--micro-tell={told}",
            *(f"-k{chosen}" for chosen in expression),
            str(HERE),
        ]
    )
    os.write(told, msgspec.json.encode(Over(int(status))) + b"\n")
    # Also where nothing was measured, its status has been told: a second one would be of this program.
    sys.exit(0)


if __name__ == "__main__":
    main()
