"""The peer django-hordak, a double-entry ledger in Python, in an environment of its own."""

from __future__ import annotations
