"""Where the network ends: sockets, handshakes, engines, connections."""
