"""The command line: thin. Each command reads, asks the library, and shows what it gives."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The program ``initpolicy``."""
    from initpolicy.cli.app import app

    app()
