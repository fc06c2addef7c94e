"""How a page bears being left open: whether its memory grows, and whether it answers.

    python tests/console/long_page.py --minutes 30 --rate 100

opens the line board in a browser against a demo server, has a device report so many lines a second, and prints each
minute the page's heap after a garbage collection, its nodes and listeners, the longest task of the page, and how
long a real click took to the next frame. The verdict compares the last third with the first. Exit code 1: it grows.
"""
# ruff: noqa: T201  it is a program of the command line

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

# Where the tests' own modules are, started from wherever.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.console import CHROMIUM, PATIENCE_MS, SWITCHES, Demo, Visitors, playwright
from support.long_page import HEAD, growth, measured, opened, streaming


def main() -> int:
    """Run it; 0 where the page is as it was, and shows what was sent."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=100, help="lines a second")
    parser.add_argument("--every", type=float, default=60, help="seconds between samples")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, playwright.sync_playwright() as driver:
        demo = Demo(Path(folder))
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
            visitors = Visitors(browser, demo)
            with streaming(demo, asked.rate) as stream:
                page = opened(visitors)
                print(
                    f"{asked.minutes:g} minutes of {asked.rate} lines a second", HEAD, sep="\n", flush=True
                )
                count = round(asked.minutes * 60 / asked.every)
                taken = measured(page, samples=count, every=asked.every, told=partial(print, flush=True))
            # What was sent is what is shown, to the line.
            total = page.locator("[data-figure=total_incoming] .value")
            playwright.expect(total).to_have_text(f"{stream.sent:,}", timeout=PATIENCE_MS)
            visitors.close()
            browser.close()
        finally:
            demo.close()
    faults = growth(taken)
    # All that is told counts: lines, and figures that follow them.
    rate = statistics.mean(each.messages for each in taken) / asked.every
    if rate < asked.rate:
        faults.append(f"only {rate:.0f} messages a second came")
    print(f"{stream.sent:,} lines sent and shown; {rate:.0f} messages a second came")
    print("Verdict:", "; ".join(faults) or "it does not grow, and it answers")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
