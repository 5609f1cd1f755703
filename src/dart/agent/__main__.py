"""`python -m dart.agent`: run an agent until it is stopped."""

import sys

from dart.agent.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
