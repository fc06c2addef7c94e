"""The payloads of every message, a module per family, and the registry that puts them together."""
