"""The README's picture: the console's monitor beside a server with something to do.

`PYTHONPATH=tests python tests/console/picture.py docs/console.png`, from the repository's root; takes two minutes.
"""

import math
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

import trio
from support.console import CHROMIUM, SWITCHES, Demo, Visitors, playwright

from tidings.client import AsyncPublisher, connect

# People in rooms of so many, each said something so often in a second.
PEOPLE, ROOM = 60, 12
SECONDS = 100


async def _listen(url: str, token: str, room: str) -> None:
    async with connect(url, token=token) as client, await client.join(room) as subscription:
        async for _ in subscription:
            pass


async def _speak(http: str, token: str) -> None:
    async with AsyncPublisher(http, token=token) as publisher:
        for number in count():
            room = f"team-{number % (PEOPLE // ROOM)}"
            await publisher.to_room(room, "news", {"text": f"number {number}"})
            # A wave, so that there is something to see.
            await trio.sleep(1 / (25 + 18 * math.sin(number / 120)))


async def _load(http: str, admin: str, tokens: list[str]) -> None:
    url = http.replace("http", "ws") + "/ws"
    async with trio.open_nursery() as nursery:
        for number, token in enumerate(tokens):
            nursery.start_soon(_listen, url, token, f"team-{number // ROOM}")
            await trio.sleep(0.1)
        nursery.start_soon(_speak, http, admin)


def main(target: Path) -> None:
    """Start a server, keep it busy, and take the picture."""
    with tempfile.TemporaryDirectory() as folder, playwright.sync_playwright() as driver:
        demo = Demo(Path(folder))
        tokens = [demo.token(f"person-{number}", ttl=600) for number in range(PEOPLE)]
        address = f"http://127.0.0.1:{demo.port}"
        load = subprocess.Popen(
            [sys.executable, __file__, "--load", address, demo.tokens["admin"], *tokens]
        )
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        try:
            page = Visitors(browser, demo)("admin", "monitor")
            page.set_viewport_size({"width": 1280, "height": 920})
            page.wait_for_timeout(SECONDS * 1000)
            page.screenshot(path=target)
        finally:
            load.kill()
            load.wait()
            browser.close()
            demo.close()


if __name__ == "__main__":
    if sys.argv[1] == "--load":
        trio.run(_load, sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main(Path(sys.argv[1]))
