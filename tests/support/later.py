"""Modules that take long to import, for tests that are collected by every worker and run by one."""

from importlib import import_module
from typing import Any


class Later:
    """Stands for a module, and imports it when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            # pytest asks everything that stands in a module whether it is a test.
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)
