"""What pages are made of beside HTML: style, scripts and icon, in memory, named with their hashes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "static"
MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HASH_CHARACTERS: Final = 12


class Asset(msgspec.Struct, frozen=True):
    """A file that a browser may keep for ever: another content has another name."""

    content: bytes
    media_type: str
    version: str


def read_assets() -> dict[str, Asset]:
    """Read all files that pages may ask for; licences and notes stay where they are."""
    return {path.name: _asset(path) for path in sorted(FOLDER.rglob("*")) if path.suffix in MEDIA_TYPES}


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, MEDIA_TYPES[path.suffix], sha256(content).hexdigest()[:HASH_CHARACTERS])
