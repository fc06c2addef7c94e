"""Memory brokers with one fault each, which the contract has to find."""

from support.broker_contract import broken_keeping, broken_publishing, broken_unnamed
from tidings.server.brokers.memory import MemoryBroker

BROKEN = [
    kind
    for module in (broken_publishing, broken_keeping, broken_unnamed)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, MemoryBroker) and kind is not MemoryBroker
]
BY_NAME = {kind.__name__: kind for kind in BROKEN}
