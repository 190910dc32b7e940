"""The environment that django-hordak runs in: made at its first use, kept for as long as its pins stand."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from hashlib import sha256
from pathlib import Path
from venv import EnvBuilder

from bench.load import ROOT

LOCK = Path(__file__).with_name("requirements.lock")
BUILD = ROOT / "build"
INSTALL_S = 300


class NotInstalled(Exception):
    """What the lock names could not be had."""


def python() -> Path:
    """Give the Python that has hordak."""
    directory = BUILD / f"hordak-{_key()}"
    installed = directory / "installed"
    if not installed.exists():
        print("installing django-hordak in an environment of its own, once", flush=True)
        EnvBuilder(clear=True, symlinks=True).create(directory)
        _install(directory)
        installed.touch()
    return directory / "bin" / "python"


def _key() -> str:
    """Stand for the pins and for the Python that they are installed for."""
    return sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _install(directory: Path) -> None:
    """Install from here, as hordak comes as source: what builds it is then pinned as well."""
    packages = sysconfig.get_path("purelib", "venv", {"base": str(directory)})
    quietly = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1")
    pinned = ("--require-hashes", "--no-build-isolation", "--requirement", str(LOCK))
    command = [sys.executable, "-m", "pip", "install", *quietly, *pinned, "--target", packages]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired as slow:
        raise NotInstalled(f"pip took longer than {INSTALL_S} s") from slow
    except subprocess.CalledProcessError as failed:
        *_, last = failed.stderr.strip().splitlines() or ["it said nothing"]
        raise NotInstalled(f"pip failed: {last}") from failed
