"""Load tests that say how much a deployment takes, where it saturates, and whether the generator or the server was the limit."""
