#!/bin/sh
# Makes .venv with everything that development needs; says what is missing, installs it itself when root on Debian.
set -eu
python=${PYTHON:-python3}

if ! command -v "$python" > /dev/null; then
    echo "There is no $python; install Python 3.11 or later (Debian: apt-get install -y python3 python3-venv)." >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "$("$python" --version) is too old for the server; name a later one: make PYTHON=python3.11 ..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        echo "installing python3-venv"
        apt-get update -qq > /dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv > /dev/null
    else
        echo "Python's venv is missing; run: sudo apt-get install -y python3-venv" >&2
        exit 1
    fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]'
