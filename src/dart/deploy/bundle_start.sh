#!/bin/sh
# Starts this bundle's agent with the first Python that fits: dart-agent --name NAME ... (dart-agent --help lists all).
# DART_PYTHON names the one to take.
here=$(dirname -- "$(readlink -f -- "$0")")
reasons=
unset PYTHONHOME
export PYTHONPATH="$here/lib"

start_with() {
    python=$1
    shift
    command -v -- "$python" > /dev/null 2>&1 || return 0
    if answer=$("$python" -E -s "$here/check.py" 2> /dev/null); then
        # Options, several words.
        # shellcheck disable=SC2086
        exec "$python" $answer -m dart.agent "$@"
    fi
    reasons="$reasons
  $python: ${answer:-does not start}"
}

if [ -n "$DART_PYTHON" ]; then
    start_with "$DART_PYTHON" "$@"
else
    for name in python3 python3.11 python3.12 python3.13 python3.14 python; do
        start_with "$name" "$@"
    done
fi
echo "dart-agent: no Python on this host fits; DART_PYTHON=/path/to/python3 names another one.${reasons:-
  none was found: apt install python3}" >&2
exit 1
