"""The process: sockets, connections, delivery, brokers."""
