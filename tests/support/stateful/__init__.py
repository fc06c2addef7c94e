"""A model of a server's clients, and of what each of them must be told, whatever happens and in whatever order."""
