"""Registries with what Tidings itself says."""

from tidings.protocol.messages import answers, commands, events, rooms
from tidings.protocol.messages.registry import Registry


def core_registry() -> Registry:
    """A new registry with what every server says; apps add theirs before the server starts."""
    registry = Registry()
    commands.register(registry)
    answers.register(registry)
    events.register(registry)
    return registry


def builtin_registry() -> Registry:
    """A new registry with what a server says that runs the apps it comes with, and no others."""
    registry = core_registry()
    rooms.register(registry)
    return registry
