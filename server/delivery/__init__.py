"""Who gets what: the hub, and each connection's outbox."""
