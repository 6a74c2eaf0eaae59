#!/bin/sh
# What the tests need besides Python: a browser, Redis, Postgres, Caddy, npm. As root on Debian they are installed; otherwise
# what is missing is named, and the tests that need it are skipped (in CI: fail).
set -eu

missing=""
need() { # need PACKAGE COMMAND...: note the Debian package unless the commands succeed
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has_chromium() { [ -n "${CHROMIUM:-}" ] || command -v chromium; }
has_redis() { [ -n "${TEST_REDIS_URL:-}" ] || command -v redis-server || answers 6379; }
has_postgres() { [ -n "${TEST_DATABASE_URL:-}" ] || ls /usr/lib/postgresql/*/bin/initdb || command -v initdb || answers 5432; }
answers() { .venv/bin/python -c "import socket; socket.create_connection(('127.0.0.1', $1), 1)"; }

need chromium has_chromium
need redis-server has_redis
need postgresql has_postgres
need caddy command -v caddy
need npm command -v npm

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing$missing for the tests."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of names
    apt-get install -qq -y --no-install-recommends $missing >/dev/null
else
    echo "!!! MISSING:$missing. Tests that need them will be SKIPPED."
    echo "!!! On Debian: sudo apt install$missing"
fi
