"""The routes of the console: each parses, calls one thing, and gives a page."""
