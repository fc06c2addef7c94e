"""What is said on the wire. Pure: no trio, no sockets, no clock, no I/O."""
