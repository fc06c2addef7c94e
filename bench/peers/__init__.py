"""Other servers doing the same job: each prints `{"ready": true, "port": …}` and sends what one says to its room.

The path that a client connects to is its room. Every text that one of its members says goes to all of them, as it
is, in order, once, the speaker included. No compression and no heartbeats. A line on standard input has garbage
collected and is answered with `{"done": true}`; its end is the server's. A peer in another language is one more
maker in this table: it is launched, pinned and measured from outside.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from tidings.bench.peers.makers import InC, InGo, InNode, InPython, OnSocketify, Ours
from tidings.bench.peers.making import CannotMake, Maker
from tidings.bench.peers.peer import Peer

__all__ = ["NAMES", "Peer", "fastapi", "find", "install", "listing", "versions"]

ALL = "all"

INSTALL = "tidings bench peers --install"

_FASTAPI = ("fastapi", "uvicorn[standard]", "uvloop", "httptools", "websockets", "PyJWT")
_PICOWS = ("picows", "aiofastnet", "uvloop")
_TRIO_WEBSOCKET = ("trio-websocket", "wsproto", "trio")

_SOCKETIFY = InPython(
    "socketify",
    "socketify: uWebSockets from Python, publish",
    "socketify_app.py",
    ("socketify",),
    "socketify",
)

_MAKERS: dict[str, Maker] = {
    "floor": InC("floor", "the floor: a loop of send() in C", "floor.c"),
    "send-loop": Ours("a bare loop of send() in Python", "send_loop"),
    "trio-websocket": Ours(
        "trio-websocket, send_message per connection", "trio_websocket", _TRIO_WEBSOCKET
    ),
    "fastapi": InPython(
        "fastapi", "FastAPI, uvicorn[standard], manager", "fastapi_app.py", _FASTAPI, "fastapi", ("rooms",)
    ),
    "websockets": InPython(
        "websockets",
        "websockets + uvloop, broadcast()",
        "websockets_app.py",
        ("websockets", "uvloop"),
        "uvloop",
    ),
    "picows": InPython("picows", "picows (Cython) + uvloop", "picows_app.py", _PICOWS, "picows"),
    "socketify": _SOCKETIFY,
    "uwebsockets": OnSocketify("uwebsockets", "uWebSockets (C++), publish", "uws.c", _SOCKETIFY),
    "node-ws": InNode("node-ws", "Node, ws, framed once", "node_ws.js"),
    "go-gorilla": InGo("go-gorilla", "Go, gorilla, prepared messages", "go_hub.go"),
}

NAMES: tuple[str, ...] = tuple(_MAKERS)


def find(names: Iterable[str], directory: Path) -> tuple[dict[str, Peer], dict[str, str]]:
    """Those of them that are installed in `directory`, and of each other one why it is missing, and the cure.

    `all` stands for every peer. Raises ValueError for a name that is none.
    """
    found, missing = {}, {}
    for name in _chosen(names):
        why = _missing(name, directory)
        if why:
            missing[name] = why
        else:
            found[name] = _MAKERS[name].peer(directory)
    return found, missing


def fastapi(directory: Path) -> Peer | None:
    """FastAPI as `engines` measures it: a token, `connected`, and uvicorn's own pings. None where it is missing."""
    if _missing("fastapi", directory):
        return None
    maker = _MAKERS["fastapi"]
    assert isinstance(maker, InPython)
    program = maker.peer(directory).program
    return Peer("FastAPI, uvicorn[standard]", program[: len(program) - len(maker.arguments)])


def install(directory: Path, names: Iterable[str] = (ALL,)) -> dict[str, str]:
    """Install what is missing or out of date, as far as this machine can; returns why the others are missing.

    Says each step on standard error. Raises ValueError for a name that is none, OSError where `directory` is not
    to be written.
    """
    missing = {}
    for name in _chosen(names):
        why = _install(name, directory)
        if why:
            missing[name] = why
    for name, why in missing.items():
        _say(name, f"missing: {why}")
    return missing


def versions(directory: Path) -> dict[str, str]:
    """The versions of those that are installed."""
    stamps = {name: _MAKERS[name].stamp(directory) for name in find(NAMES, directory)[0]}
    return {name: stamp.version for name, stamp in stamps.items() if stamp is not None}


def listing(directory: Path) -> str:
    """The peers, a line each: what it is, and its version or why it is missing."""
    there = versions(directory)
    missing = find(NAMES, directory)[1]
    titles = {name: _MAKERS[name].peer(directory).title for name in NAMES}
    wide, wider = max(map(len, NAMES)), max(map(len, titles.values()))
    lines = [
        f"{name:{wide}}  {titles[name]:{wider}}  {there.get(name) or 'missing: ' + missing[name]}"
        for name in NAMES
    ]
    return "\n".join([f"{'peer':{wide}}  {'what it is':{wider}}  in {directory}", *lines])


def _chosen(names: Iterable[str]) -> list[str]:
    chosen = list(dict.fromkeys(names))
    for name in chosen:
        if name not in (*NAMES, ALL):
            raise ValueError(f"no peer is called {name!r}: there are {', '.join(NAMES)}, and {ALL}")
    return list(NAMES) if ALL in chosen else chosen


def _missing(name: str, directory: Path) -> str:
    """Why a peer cannot be started, and the cure; empty when it can."""
    maker = _MAKERS[name]
    if maker.stamp(directory) is not None:
        return ""
    lacking = maker.lacking()
    return f"{lacking}; then {INSTALL}" if lacking else f"not installed, or out of date: {INSTALL}"


def _install(name: str, directory: Path) -> str:
    """Why it could not be; empty when it is there."""
    maker = _MAKERS[name]
    if maker.stamp(directory) is not None:
        _say(name, "is there")
        return ""
    lacking = maker.lacking()
    if not lacking:
        try:
            maker.make(directory, lambda step: _say(name, step))
        except CannotMake as error:
            return str(error)
    return lacking


def _say(name: str, what: str) -> None:
    print(f"{name}: {what}", file=sys.stderr)
