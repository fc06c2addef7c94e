"""Expressions of Prometheus: the series that they name, and what promtool makes of them."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

_find_selectors = re.compile(r"\b((?:tidings|process)_\w+)(?:\{([^}]*)\})?").findall
_find_matchers = re.compile(r"(\w+)\s*(=~|!=|!~|=)\s*\"([^\"]*)\"").findall
_find_groups = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)").findall
_match_sample = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)$").match
_find_labels = re.compile(r"(\w+)=\"([^\"]*)\"").findall

# What a scrape adds to each series.
TARGET: Final = {"job": "tidings", "instance": "a"}


class Selector(NamedTuple):
    """A metric that an expression names, with its matchers as (label, operator, value)."""

    metric: str
    matchers: list[tuple[str, str, str]]


def selectors(expression: str) -> list[Selector]:
    """All that an expression reads of a server."""
    return [Selector(name, _find_matchers(inner)) for name, inner in _find_selectors(expression)]


def grouping(expression: str) -> set[str]:
    """The labels by which it puts series together."""
    return {label.strip() for group in _find_groups(expression) for label in group.split(",")}


class Scrape:
    """What a server has told, in Prometheus's text format."""

    def __init__(self, text: str) -> None:
        self.samples: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            sample = None if line.startswith("#") else _match_sample(line)
            if sample is not None:
                self.samples.append((sample[1], dict(_find_labels(sample[2] or "")), float(sample[3])))
        self.labels: dict[str, set[str]] = defaultdict(set)
        """Of each metric."""
        for name, labels, _ in self.samples:
            self.labels[name] |= {*labels, *TARGET}

    def values(self, metric: str, label: str) -> set[str]:
        """All values of a metric's label."""
        return {labels[label] for name, labels, _ in self.samples if name == metric and label in labels}

    def series(self) -> list[dict[str, str]]:
        """Each series as it would be after ten scrapes that found a tenth of it each, for promtool."""
        return [
            {"series": _written(name, labels | TARGET), "values": f"0+{value / 10:.12f}x10"}
            for name, labels, value in self.samples
        ]


def run_promtool(folder: Path, test: Mapping[str, Any]) -> None:
    """Have promtool run a file of tests for rules. Skips where it is not installed."""
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: apt-get install prometheus")
    # What is JSON is YAML too.
    (folder / "test.yml").write_text(json.dumps(test))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def gives_numbers(expressions: Iterable[str], series: list[dict[str, str]]) -> dict[str, Any]:
    """A test that each of them makes at least one number of the series after ten minutes."""
    tests = [
        # A quotient of nothing is no number, and equal to nothing.
        {"expr": f"absent(({expr}) == ({expr}))", "eval_time": "10m", "exp_samples": []}
        for expr in expressions
    ]
    return {
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
    }


def fires_for(
    rules: Path, expected: Mapping[str, set[str]], series: Mapping[str, str], *, at: str
) -> dict[str, Any]:
    """A test that each alert fires for these instances and no others, after so long with values a minute apart."""
    tests = [
        {
            "expr": f'count by (instance) (ALERTS{{alertname="{alert}", alertstate="firing"}})',
            "eval_time": at,
            "exp_samples": [{"labels": f'{{instance="{name}"}}', "value": 1} for name in sorted(instances)],
        }
        for alert, instances in expected.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    return {
        "rule_files": [str(rules)],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": tests}],
    }


def _written(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in sorted(labels.items())) + "}"
