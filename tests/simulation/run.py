"""Run one simulation and print its summary; exit status 1 when something was wrong.

python tests/simulation/run.py --seed 7 --clients 1000 --minutes 60
"""

import argparse
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.simulation import DEFAULT_ENGINE, Settings, simulate

from tidings.server.app import ENGINES


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description="A whole server on a bad network, in virtual time.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="replays a run")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--faithful", type=int, default=5, help="real Python clients beside them")
    parser.add_argument("--minutes", type=float, default=10, help="of virtual time")
    parser.add_argument("--engine", choices=sorted(ENGINES), default=DEFAULT_ENGINE)
    parser.add_argument("--acts-every", type=float, default=30, help="seconds between a client's acts")
    parser.add_argument("--fails-every", type=float, default=60, help="seconds between a client's faults")
    parser.add_argument("--published-every", type=float, default=0.5, help="seconds between publications")
    parser.add_argument("--ping-interval", type=float, default=20)
    given = vars(parser.parse_args())
    print(f"seed {given['seed']}", flush=True)  # noqa: T201
    summary = simulate(Settings(**given))
    print(summary)  # noqa: T201
    sys.exit(bool(summary.violations))


if __name__ == "__main__":
    main()
