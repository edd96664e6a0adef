"""Entry point of the `asd` command, and of ``python -m asd``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C counts from the first import on."""
    try:
        from asd.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
