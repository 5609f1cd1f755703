"""Writes the OpenAPI document, as a server with the default limits serves it, into a file."""

import json
import sys
from pathlib import Path

from dart.limits import Limits
from dart.rest.openapi import document
from dart.rest.routes import ROUTES


def main() -> int:
    """`write_openapi.py FILE`."""
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document(ROUTES, Limits()), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
