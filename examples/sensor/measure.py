"""Ask every worker that has a thermometer, and wait for those that will join later.

python measure.py [--count 5] [--pause 0.2]
"""

import argparse

from dart_client import Client


def main() -> None:
    """One reading of each, as they come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5, help="readings of each worker")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between them")
    arguments = parser.parse_args()
    with Client() as client:
        job = client.job("thermometers", "thermometer", "read")
        # Bound to what the machine has, not to a name: whoever is connected and has one.
        wanted = {"count": arguments.count, "pause": arguments.pause}
        for future in job.submit_each(wanted, requires=["thermometer=true"], timeout=60, if_offline="fail"):
            told = future.result(120)
            print(f"{future.worker}: {min(told['readings']):.1f} to {max(told['readings']):.1f} C")
        # And to nobody in particular: the first free one does it, or waits for one to come.
        one = job.submit(wanted, requires=["thermometer=true"])
        print(f"one more, from {one.result(120)['host'] and one.worker}")


if __name__ == "__main__":
    main()
