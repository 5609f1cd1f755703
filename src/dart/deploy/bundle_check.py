"""Whether this Python can run the bundle that this file lies in: prints the options to start it with, or why not.

It must be understood by any Python there is, so that an old one says that it is old.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def fault(manifest):  # type: ignore[no-untyped-def]  # no annotations: see above
    """Why not; None: it can."""
    version = "%d.%d" % sys.version_info[:2]
    wanted = tuple(manifest["python_least"])
    if sys.version_info[:2] < wanted:
        return "this is Python %s; %d.%d is needed" % (version, wanted[0], wanted[1])
    if manifest["python_exact"] and sys.version_info[:2] != wanted:
        return "this is Python %s; the bundle was made for %d.%d (dart bundle --python %s makes one for this)" % (
            version,
            wanted[0],
            wanted[1],
            version,
        )
    try:
        import zmq
    except ImportError:
        error = sys.exc_info()[1]
        if "pyzmq" in manifest["of_host"]:
            return "pyzmq is missing (%s): apt install python3-zmq" % error
        return "the bundle for %s does not load in this %d-bit Python on %s: %s" % (
            manifest["platform"],
            64 if sys.maxsize > 2**32 else 32,
            os.uname()[4],
            error,
        )
    least = tuple(int(part) for part in manifest["of_host"].get("pyzmq", "0").split("."))
    if zmq.pyzmq_version_info()[:3] < least:
        return "its pyzmq is %s; %s or later is needed: apt install python3-zmq" % (
            zmq.__version__,
            manifest["of_host"]["pyzmq"],
        )
    if not zmq.has("curve"):
        return "its pyzmq was built without CURVE, so connections could not be encrypted: apt install python3-zmq"
    return None


def main():  # type: ignore[no-untyped-def]
    """The exit code: 0, it can."""
    with open(os.path.join(HERE, "manifest.json")) as file:
        manifest = json.load(file)
    alone = not manifest["of_host"]
    # -E took PYTHONPATH away, lest anything of the user's is loaded instead of what belongs here.
    sys.path[:1] = [os.path.join(HERE, "lib")]
    reason = fault(manifest)  # type: ignore[no-untyped-call]
    if reason is not None:
        print(reason)
        return 1
    # No folder of modules is put in front; nothing of the user's; of what is installed only what is needed.
    print("-P -s -S" if alone else "-P -s")
    return 0


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[no-untyped-call]
