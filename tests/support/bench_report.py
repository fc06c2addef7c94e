"""A report as a run of all peers gives it, made by hand."""

import math
import random

from tidings.bench.quantiles import CURVE_SHARES
from tidings.bench.report import Bars, Curve, Distribution, Lines, Report, Table

SERVERS = {
    "tidings": 6.2,
    "the floor: a C loop of send()": 4.6,
    "a bare Python loop of send()": 5.0,
    "picows, uvloop": 5.7,
    "socketify (uWebSockets)": 5.9,
    "Go, gorilla, prepared messages": 7.4,
    "Node, ws": 8.1,
    "websockets + uvloop, broadcast()": 10.2,
    "FastAPI, uvicorn[standard]": 13.1,
    "trio-websocket, send_message per connection": 92.3,
}

ABOUT = {
    "processor": "2 x A Processor With A Long Name @ 2.90GHz",
    "kernel": "6.18.0, TCP cubic",
    "python": "3.11.2",
    "packages": "tidings 0.1.0, trio 0.35.0, trio-websocket 0.12.2, wsproto 1.3.2, msgspec 0.22.0",
    "commit": "c418579",
    "load average at start": "0.31",
    "started": "2026-11-22T11:00:00Z",
    "command": "python -m tidings.bench fanout --clients 5000 --peers all --report build/fanout",
    "other processes meanwhile": "3% of a core",
}


def realistic() -> Report:
    """What a run of all peers gives: bars that differ by a factor of twenty, distributions, growth."""
    chance = random.Random(1)
    report = Report(
        "fanout: one message of 256 B to 5,000 clients in one room, medians of 5 alternating runs of 30"
    )
    slow = SERVERS

    def tail(cost: float, open_loop: float) -> list[float]:
        return [
            cost * open_loop * (0.35 + 0.9 * share + 0.05 * chance.random())
            + max(0, -math.log10(1 - share) - 1.5) ** 2 * (3 + cost / 6)
            for share in CURVE_SHARES
        ]

    closed = [Curve(name, CURVE_SHARES, tail(cost, 1.1)) for name, cost in slow.items()]
    opened = [Curve(name, CURVE_SHARES, tail(cost, 1.6)) for name, cost in list(slow.items())[:-1]]
    rows = []
    for (name, cost), curve in zip(slow.items(), closed, strict=True):
        rows.append(
            [name, f"{cost:.2f}", f"{cost * 0.93:.2f}-{cost * 1.12:.2f}", f"{cost * 1.9:.2f}"]
            + [f"{curve.y[at]:.2f}" for at in (3, 20, 30)]
            + [
                f"{1e6 / cost / 1.3:,.0f}",
                f"{min(0.97, 5 / cost):.0%}",
                f"{cost / 6.2:.2f}",
                f"{cost / 4.6:.2f}",
            ]
        )
    report.tables = [
        Table(
            ["server", "CPU µs/delivery", "range", "completion ms", "p50 ms", "p99 ms", "p99.9 ms",
             "deliveries/s", "load CPU", "of ours", "of the floor"],
            rows,
        ),
        Table(
            ["clients", "ours, CPU µs/delivery", "floor, CPU µs/delivery", "ratio"],
            [["1,000", "5.90", "4.51", "1.31"], ["15,000", "6.81", "4.93", "1.38"]],
        ),
    ]  # fmt: skip
    sizes = [1000, 2000, 5000, 10000, 15000]
    seconds = [at / 2 for at in range(240)]
    report.plots = [
        Bars(
            "What one delivery costs the server",
            "CPU µs per delivery",
            list(slow),
            list(slow.values()),
            [(cost * 0.93, cost * 1.12) for cost in slow.values()],
            ours=["tidings"],
        ),
        Distribution("Latency, closed loop", closed),
        Distribution("Latency from the scheduled time, open loop at 60,000 deliveries/s", opened),
        Lines(
            "CPU per delivery as the room grows",
            "clients in the room",
            "CPU µs per delivery",
            [
                Curve(name, sizes, [cost * (0.9 + 0.1 * chance.random() + size / 1e5) for size in sizes])
                for name, cost in list(slow.items())[:-1]
            ],
        ),
        Lines(
            "Dead connections still in the hub",
            "seconds",
            "connections",
            [
                Curve(name, seconds, [min(high, max(0.0, high - (at - died) * 900)) for at in seconds])
                for name, high, died in (("killed", 1250, 20), ("stopped", 1250, 27), ("black hole", 625, 28))
            ],
            marks=[(20.0, "they die"), (21.0, "ping due"), (29.0, "bound"), (100.0, "all leave")],
        ),
        Lines(
            "Memory of the server", "seconds", "MiB",
            [Curve("measured", seconds, [237 + at / 100 + chance.random() for at in seconds]),
             Curve("fitted", [60, 119.5], [237.9, 238.9])],
            marks=[(60.0, "warm-up ends")],
        ),
        Bars(
            "Parts of a delivery", "µs, median",
            ["encode", "frame, 128 B", "frame, 64 KiB", "unmask", "offer", "publish to 10,000 subscribers"],
            [0.42, 0.31, 6.4, 0.9, 1.3, 21000.0],
        ),
        Bars("Handshakes", "per second", ["native", "reference", "FastAPI"], [2900, 1740, 1500],
             [(2500, 3100), (1500, 1800), (1450, 1600)], ours=["native", "reference"], more_is_better=True),
    ]  # fmt: skip
    report.check("at most 1.3 × the floor (CPU per delivery)", False, "1.35 times")
    report.check("at most 0.65 of websockets + uvloop", True, "0.61")
    report.check("below Node and Go", True, "0.77 and 0.84")
    report.check("within 1.15 × picows", True, "1.09")
    report.check("at least 10 times less CPU than trio-websocket", True, "14.9 times")
    for name in SERVERS:
        report.check(
            f"{name}: every client got every message once, in order", True, "825,000 of 825,000, 0 problems"
        )
    report.warnings = [
        "the clients of tidings used more than 80% of their core: completion and latency are theirs too",
        "left out: socketify is not installed (tidings bench peers --install)",
    ]
    report.raw = {"options": {"clients": 5000, "rounds": 30, "peers": ("all",), "tls": False, "seed": 7}}
    return report
