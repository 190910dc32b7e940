"""What stands in the way of a command: its sentence says what to put right. It ends with exit code 1."""

from __future__ import annotations


class Obstacle(Exception):
    """Something about the database or the machine must be put right first."""


class SchemaForeign(Obstacle):
    """The schema was made by a version that this one does not know."""


class RightsMissing(Obstacle):
    """The login is too weak for the command."""


class RightsWrong(Obstacle):
    """The database's roles may do more or less than they should."""
