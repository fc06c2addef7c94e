"""The registry with everything that Tidings itself says."""

from tidings.protocol.messages import answers, commands, events
from tidings.protocol.messages.registry import Registry


def builtin_registry() -> Registry:
    """A new registry holding the built-in messages; apps add theirs before the server starts."""
    registry = Registry()
    commands.register(registry)
    answers.register(registry)
    events.register(registry)
    return registry
