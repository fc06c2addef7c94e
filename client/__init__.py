"""Where the Python client stands; there is none yet."""
