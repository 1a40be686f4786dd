"""``python -m tests.fuzz NAME [--engine atheris|hypothesis] [--seconds N]``: until time is up or something escapes.

What a reader may do with any bytes is to return clean events or to raise ParseError. Anything else is printed with its
input, and the exit code is not 0. ``make fuzz`` runs every reader under both engines, two at a time.
"""

from __future__ import annotations

import argparse
import os
import sys

from tests.fuzz.seeds import NAMES


def main() -> int:
    """Fuzz one reader."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("name", choices=NAMES)
    options.add_argument("--engine", choices=("atheris", "hypothesis"), default="atheris")
    options.add_argument("--seconds", type=int, default=600)
    given = options.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "reputation_site.settings")
    if given.engine == "atheris":
        from tests.fuzz import guided

        guided.run(given.name, given.seconds)
        return 0
    from tests.fuzz import drawn

    return drawn.run(given.name, given.seconds)


if __name__ == "__main__":
    sys.exit(main())
