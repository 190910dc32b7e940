"""The console: pages for people, over the same functions, keys and scopes as the API."""
