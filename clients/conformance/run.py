"""Does a client keep the contract? `run.py [--only WORD] -- COMMAND OF ITS DRIVER`; clients/README.md says more."""

import argparse
import sys
import time

from suite import run, stage


def main() -> int:
    """0: it does; 1: a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name has this word")
    parser.add_argument("driver", nargs="+", help="the command that starts the driver")
    asked = parser.parse_args()
    began = time.monotonic()
    with stage() as (installed, proxy):
        found = run(installed, proxy, asked.driver, only=asked.only)
    for case, wrong, seconds in found:
        print(f"{'FAILED' if wrong else 'passed'}  {seconds:4.1f} s  {case}{f': {wrong}' if wrong else ''}")
    failed = sum(bool(outcome.wrong) for outcome in found)
    print(f"{len(found) - failed} of {len(found)} cases passed in {time.monotonic() - began:.1f} s")
    return int(failed > 0 or not found)


if __name__ == "__main__":
    sys.exit(main())
