"""The console in a browser, against a server process in demo mode: its users, its pages, its faults."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from support.later import Later
from support.node import ROOT
from tidings.server.auth import Authenticator
from tidings.server.config import Auth
from tidings.server.demo import SECRET_FILE

playwright = Later("playwright.sync_api")

#: Without the browser's own windows, where there is that one: they are half of the work, and nobody sees them.
CHROMIUM: Final = shutil.which("chromium-headless-shell") or shutil.which("chromium")

# For a browser on a busy machine; nothing waits for it to pass.
PATIENCE_MS: Final = 40_000

# The same, behind the longest time that the SDK leaves between two attempts to connect.
_CONNECTING_MS: Final = 30_000 + PATIENCE_MS

# A browser that speaks to nobody but the server.
SWITCHES: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# A restart that does not wait.
_SETTINGS: Final = ("server.drain_seconds=1",)

#: What only an end of the server, or of the network, may make a browser say.
LOST: Final = re.compile(
    r"WebSocket connection to '.*' failed|net::ERR_(CONNECTION|INTERNET|NETWORK|EMPTY)|status of 503"
)

# Where axe-core is: with the packages of the SDK's tests.
AXE: Final = ROOT / "client" / "js" / "node_modules" / "axe-core" / "axe.min.js"

#: Where screenshots go, for whoever has set SCREENS: nobody compares them, people look at them.
SCREENS: Final = ROOT / "build" / "screens"

# For how long the console tells something in passing.
(_toast_ms,) = re.findall(
    r"^const TOAST_MS = ([0-9_]+);$",
    (ROOT / "server" / "console" / "lib" / "ui.js").read_text("utf-8"),
    re.MULTILINE,
)
_TOAST_MS: Final = int(_toast_ms)

_printed_login = re.compile(r"^  (alice|bob|admin)\n  (\S+)$", re.MULTILINE)
_printed_password = re.compile(r"^  (alice|bob|admin) +([a-z2-7]{16})$", re.MULTILINE)
_printed_code = re.compile(r"activation_code=(\w+)")


class Demo:
    """`tidings serve --demo`, on the same port and the same data each time it is started."""

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self._folder = folder
        self._log = (folder / "log").open("ab")
        self._settings = [part for each in (*_SETTINGS, *settings) for part in ("--set", each)]
        self.port = 0
        self.tokens: dict[str, str] = {}
        self.passwords: dict[str, str] = {}
        self.code = ""
        """The activation code of the line board's demo group."""
        self.start()

    def start(self) -> None:
        """Start it, and read what it prints: where it listens, and who may come in."""
        env = {"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"}
        path = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tidings.server",
                "serve",
                "--demo",
                "--port",
                str(self.port),
                *self._settings,
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._folder,
            env=env if path is None else env | {"PYTHONPATH": path},
            text=True,
        )
        assert self._process.stdout is not None
        printed = ""
        for line in self._process.stdout:
            printed += line
            # The last words of the introduction.
            if line.startswith("Ctrl-C"):
                break
        found = re.search(r"http://[^/:]+:(\d+)/", printed)
        if found is None:
            self.close()
            raise AssertionError((self._folder / "log").read_text())
        self.port = int(found[1])
        self.tokens = dict(_printed_login.findall(printed))
        self.passwords = dict(_printed_password.findall(printed))
        code = _printed_code.search(printed)
        self.code = code[1] if code else ""

    @property
    def is_running(self) -> bool:
        """Whether nobody has ended it since it was started."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it as an operator does, and wait for it."""
        self._process.terminate()
        assert self._process.wait(30) == 0
        self._hang_up()

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.wait(30)
        self._hang_up()

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(30)
        self._hang_up()
        self._log.close()

    def _hang_up(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def url(self) -> str:
        """Where the console is."""
        return f"http://127.0.0.1:{self.port}/console/"

    def token(self, user: str, **more: Any) -> str:
        """A token that no login gave, as of another issuer: `ttl`, `roles` and the like."""
        secret = (self._folder / "data" / SECRET_FILE).read_text("ascii")
        return Authenticator(Auth(secret=secret)).issue(user, **more)

    def http(self, user: str = "admin") -> httpx.Client:
        """A client of the HTTP API with a user's token; close it, or use it as a context manager."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {self.tokens[user]}"},
        )


@dataclass
class Visitors:
    """Opens pages, each in a browser profile of its own, and collects what went wrong in them."""

    browser: Any
    demo: Demo
    contexts: list[Any] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __call__(
        self,
        user: str | None = None,
        route: str = "",
        *,
        by: str = "token",
        width: int = 1280,
        theme: str = "light",
        language: str = "en",
        expected: re.Pattern[str] | None = None,
    ) -> Any:
        """A page at `#/route`, logged in as a user of the demo, by token or by password; without one, at the login.

        What the console (the browser's) complains of fails the test, but for what `expected` matches: also a
        violation of the Content-Security-Policy.
        """
        # Else colours are measured, and buttons photographed, in the middle of a change.
        context = self.browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=theme,
            locale=language,
            reduced_motion="reduce",
        )
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        self.watch(page, expected)
        token = self.demo.tokens[user] if user is not None and by == "token" else None
        page.goto(self.demo.url + (f"#token={token}" if token else f"#/{route}"))
        if user is not None and by == "password":
            page.fill("input[name=username]", user)
            page.fill("input[name=password]", self.demo.passwords[user])
            page.press("input[name=password]", "Enter")
        if user is not None:
            connected(page)
            if route:
                go(page, route)
        return page

    def watch(self, page: Any, expected: re.Pattern[str] | None = None) -> None:
        """Collect a page's faults, and the hosts that it speaks to."""

        def console(message: Any) -> None:
            # Browsers report every answer of 4xx in the console: pages ask, and are told.
            if "Failed to load resource" in message.text and "status of 4" in message.text:
                return
            if message.type in ("error", "warning") and not (expected and expected.search(message.text)):
                self.faults.append(message.text)

        page.on("console", console)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def close(self) -> None:
        """End the pages. Raises AssertionError for any fault, and for any request to another host."""
        for context in self.contexts:
            context.close()
        assert self.faults == []
        assert self.hosts <= {f"127.0.0.1:{self.demo.port}"}


def keep_toasts(page: Any) -> None:
    """Have what is told in passing stay until the page is left: on a busy machine it would be gone too soon."""
    page.evaluate(
        """(passing) => {
          const later = window.setTimeout;
          window.setTimeout = (action, delay) => (delay === passing ? 0 : later(action, delay));
        }""",
        _TOAST_MS,
    )


def connected(page: Any) -> None:
    """Wait until the page's header says that it is connected."""
    playwright.expect(page.locator("#state")).to_have_attribute("data-tone", "good", timeout=_CONNECTING_MS)


def go(page: Any, route: str) -> None:
    """Follow a route within the console, as a click on a link does."""
    page.evaluate("route => { location.hash = `#/${route}`; }", route)
    name = route.partition("/")[0]
    page.locator(f"main > tidings-{name} h1").wait_for()


def check_access(page: Any) -> None:
    """Run axe-core over the page as it is: nothing against WCAG 2.2 A and AA, nor against good practice."""
    # By the debugger's hand, which no policy of the page's holds back; once, it is half a megabyte.
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    told = [
        f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes'][:3]]}"
        for each in found["violations"]
    ]
    assert told == [], "\n".join(told)


def look(page: Any, name: str, *, widths: Sequence[int] = (1280, 390)) -> None:
    """Screenshots of the page, by day and by night, wide and narrow: `build/screens/<name>-<width>-<theme>.png`.

    Only where SCREENS is set in the environment.
    """
    if not os.environ.get("SCREENS"):
        return
    SCREENS.mkdir(parents=True, exist_ok=True)
    size = page.viewport_size
    for width in widths:
        page.set_viewport_size({"width": width, "height": 800})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=SCREENS / f"{name}-{width}-{theme}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(size)


def sideways(page: Any) -> int:
    """By how many pixels the page scrolls sideways: 0 unless something is too wide."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
