"""The dashboard and the alerts: a real server tells all that they name, and each alert fires when it should."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from support.metrics import Scrape, fires_for, gives_numbers, grouping, run_promtool, selectors
from support.process import PATIENCE
from support.proxies import DEPLOY
from support.site import SECRET, configured, listening_site
from support.tasks import peers_of

from tidings.protocol.close_codes import CloseCode
from tidings.server.config import Auth

ALERTS = DEPLOY / "alerts.yml"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
KEY = "the-key-of-a-scraper-long-enough-to-be-one"

pytestmark = pytest.mark.slow

# What Prometheus itself tells of a target.
OWN = {"up"}

_find_legend = re.compile(r"\{\{\s*\$?(?:labels\.)?(\w+)").findall


@pytest.fixture
async def scrape() -> Scrape:
    """What a server tells that has done a little of everything."""
    auth = Auth(secret=SECRET, api_keys=(KEY,))
    async with listening_site(configured(auth=auth)) as site:
        async with peers_of(site) as peers:
            alice, bob, wrong = await peers.connect("alice"), await peers.connect("bob"), await peers.open()
            assert (await wrong.handshake(token="no"))[0] == 401
            room = {"room": "r"}
            position = (await alice.command("join_room", room))["data"]
            await bob.command("join_room", room)
            await bob.command("room_message", {**room, "text": "hello"})
            assert (await bob.command("publish", {"channel": "all", "event": "e", "payload": {}}))[
                "type"
            ] == "error"
            await alice.command("leave_room", room)
            since = {"epoch": position["epoch"], "offset": 0}
            assert (await alice.command("join_room", {**room, "since": since}))["data"]["recovered"]
            await alice.command("leave_room", room)
            other = {"epoch": "another", "offset": 0}
            assert not (await alice.command("join_room", {**room, "since": other}))["data"]["recovered"]
            await bob.send_close(1000)
            await bob.closed()
        base = f"http://127.0.0.1:{site.port}"
        key = {"X-API-Key": KEY}
        async with httpx.AsyncClient(base_url=base, headers=key, verify=False, timeout=PATIENCE) as api:
            assert (await api.get("/api/v1/stats")).status_code == 200
            # Of the statuses from 500 on, one without a fault.
            site.server.context.draining = True
            assert (await api.get("/readyz")).status_code == 503
            # The loop's lag is measured four times a second.
            while "tidings_loop_lag_seconds_count 0.0\n" in (text := (await api.get("/metrics")).text):
                pass
            return Scrape(text)


def _targets() -> list[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return [
        *targets,
        *({"expr": shown["expr"], "legendFormat": ""} for shown in dashboard["annotations"]["list"]),
    ]


def _rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def _written_out(expression: str) -> str:
    """As Grafana sends it."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


async def test_all_that_is_named_is_told(scrape: Scrape) -> None:
    """Metrics, labels in matchers, groups and legends, and the values that they are compared with."""
    shown = [(target["expr"], target["legendFormat"]) for target in _targets()]
    alerting = [(rule["expr"], rule["annotations"]["summary"]) for rule in _rules()]
    for expression, legend in shown + alerting:
        named = selectors(expression)
        assert named or any(name in expression for name in OWN), expression
        for metric, matchers in named:
            assert metric in scrape.labels, f"{metric} is told by no server"
            for label, operator, value in matchers:
                assert label in scrape.labels[metric], f"{metric} has no label {label}"
                if label == "code":
                    assert int(value) in set(CloseCode)
                elif operator == "=" and label not in ("job", "instance"):
                    assert value in scrape.values(metric, label), f'no {metric}{{{label}="{value}"}}'
        known = set().union(*(scrape.labels[metric] for metric, _ in named), {"le", "instance"})
        said = set(_find_legend(legend)) - {"value"}
        assert grouping(expression) | said <= known, expression
        aggregated = re.search(r"\bsum by \(([^)]*)\)", expression)
        if aggregated and legend:
            assert said <= grouping(expression), f"{legend}: summed away by {expression}"
    # And the other way round: nothing that is ours stays unseen.
    ours = {
        name
        for name in scrape.labels
        if name.startswith("tidings_") and not name.endswith(("_created", "_sum"))
    }
    seen = {metric for expression, _ in shown for metric, _ in selectors(expression)}
    assert {name for name in ours if not name.endswith("_count")} == {
        name for name in seen if name.startswith("tidings_")
    }


async def test_each_panel_shows_numbers(scrape: Scrape, tmp_path: Path) -> None:
    """Prometheus's own evaluation of each expression, over what the server told, gives something."""
    expressions = [_written_out(target["expr"]) for target in _targets() if " > 0" not in target["expr"]]
    run_promtool(tmp_path, gives_numbers(expressions, scrape.series()))


def _named(metric: str, **labels: str) -> str:
    inner = ",".join(
        f'{name}="{value}"' for name, value in ({"job": "tidings", "instance": "a"} | labels).items()
    )
    return f"{metric}{{{inner}}}"


CONNECTIONS = _named("tidings_connections")
SLOW, DEAD = (_named("tidings_closes_total", code=code) for code in ("3008", "3012"))
LAG = {le: _named("tidings_loop_lag_seconds_bucket", le=le) for le in ("0.1", "0.5", "+Inf")}
CROWDED = _named("tidings_refusals_total", where="handshake", cause="429")
UNKNOWN = _named("tidings_refusals_total", where="handshake", cause="401")
FINE, FAILED = (
    _named("tidings_http_requests_total", method="POST", route="/api/v1/publish", status=status)
    for status in ("200", "503")
)
FOUND, GONE = (
    _named("tidings_recoveries_total", outcome=outcome) for outcome in ("recovered", "unrecoverable")
)

# Of each alert: values a minute apart at which it fires, and others, near by, at which it does not.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "TidingsDown": ({_named("up"): "0x90"}, {_named("up"): "1x89 0"}),
    "TidingsRestarts": (
        {_named("process_start_time_seconds"): "1x80 2 2 3 3 4 4 4 4 4 4"},
        {_named("process_start_time_seconds"): "1x80 2 2 3 3 3 3 3 3 3 3"},
    ),
    "TidingsBusy": (
        {_named("process_cpu_seconds_total"): "0+50x90"},
        {_named("process_cpu_seconds_total"): "0+45x90"},
    ),
    "TidingsLoopLate": (
        {LAG["0.1"]: "0+200x90", LAG["0.5"]: "0+240x90", LAG["+Inf"]: "0+240x90"},
        {LAG["0.1"]: "0+239x90", LAG["0.5"]: "0+240x90", LAG["+Inf"]: "0+240x90"},
    ),
    "TidingsDescriptors": (
        {_named("process_open_fds"): "820x90", _named("process_max_fds"): "1000x90"},
        {_named("process_open_fds"): "780x90", _named("process_max_fds"): "1000x90"},
    ),
    "TidingsConnectionsLost": ({CONNECTIONS: "1000x85 600x5"}, {CONNECTIONS: "1000x85 700x5"}),
    "TidingsSlowConsumers": (
        {SLOW: "0+5x90", CONNECTIONS: "1000x90"},
        {SLOW: "0+5x90", CONNECTIONS: "3000x90"},
    ),
    "TidingsDeadPeers": (
        {DEAD: "0+30x90", CONNECTIONS: "1000x90"},
        {DEAD: "0+15x90", CONNECTIONS: "1000x90"},
    ),
    "TidingsOutboxes": (
        {_named("tidings_outbox_bytes"): "300000000x90"},
        {_named("tidings_outbox_bytes"): "200000000x90"},
    ),
    "TidingsTurnsAway": ({CROWDED: "0+30x90"}, {CROWDED: "0+15x90", UNKNOWN: "0+50x90"}),
    "TidingsTokensRefused": ({UNKNOWN: "0+90x90"}, {UNKNOWN: "0+40x90", CROWDED: "0+15x90"}),
    "TidingsHttpErrors": ({FINE: "0+900x90", FAILED: "0+12x90"}, {FINE: "0+900x90", FAILED: "0+6x90"}),
    "TidingsGaps": ({FOUND: "0+80x90", GONE: "0+20x90"}, {FOUND: "0+95x90", GONE: "0+5x90"}),
    "TidingsInboxDropped": (
        {_named("tidings_inbox_dropped_total"): "0x88 1 1"},
        {_named("tidings_inbox_dropped_total"): "7x90"},
    ),
    "TidingsKeysForgotten": (
        {_named("tidings_idempotency_keys_forgotten_total"): "0x88 3 3"},
        {_named("tidings_idempotency_keys_forgotten_total"): "7x90"},
    ),
}


def test_each_alert_fires_when_it_should_and_for_nobody_else(tmp_path: Path) -> None:
    """On either side of each threshold, by Prometheus's own evaluation; the others stay silent meanwhile."""
    assert {rule["alert"] for rule in _rules()} == set(CASES)
    series: dict[str, str] = {}
    for alert, cases in CASES.items():
        for server, given in zip(("fires", "quiet"), cases, strict=True):
            own = f'instance="{alert} {server}"'
            series |= {name.replace('instance="a"', own): values for name, values in given.items()}
    run_promtool(
        tmp_path, fires_for(ALERTS, {alert: {f"{alert} fires"} for alert in CASES}, series, at="90m")
    )
