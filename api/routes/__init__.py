"""The HTTP routes: each parses, calls one thing, and answers."""
