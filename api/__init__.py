"""The edge: HTTP, keys, command line and console. Parses, calls one thing, answers."""
