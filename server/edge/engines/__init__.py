"""WebSocket implementations under a connection, behind one seam."""
