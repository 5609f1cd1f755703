#!/bin/sh
# Installs what single tests talk to, where that is allowed; a test whose peer is missing is skipped with its reason.
set -eu
[ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || exit 0
missing=
command -v curl > /dev/null || missing="$missing curl"
command -v systemd-analyze > /dev/null || missing="$missing systemd"
command -v node > /dev/null || missing="$missing nodejs"
command -v chromium > /dev/null || missing="$missing chromium"
[ -x /usr/sbin/sshd ] && command -v ssh-keygen > /dev/null || missing="$missing openssh-server"
if [ -n "$missing" ]; then
    apt-get update -qq > /dev/null 2>&1 || true
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null 2>&1 || true
fi
