"""The apps that come with the server, on the extension API alone."""
