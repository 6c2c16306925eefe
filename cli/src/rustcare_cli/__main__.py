"""`rustcare`, and `python -m rustcare_cli`."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and leave with its exit code: 0 done, 1 failed, 2 wrong usage."""
    from .app import app

    try:
        app(prog_name="rustcare")
    except BrokenPipeError:
        # The reader of a pipe went away (`rustcare … | head`). Keep the interpreter from writing there once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
