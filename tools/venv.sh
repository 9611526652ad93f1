#!/bin/sh
# Prepares the environment in which `make` runs everything: tools/venv.sh PYTHON FOLDER run|dev
# `run` is what orchd needs, `dev` what its tests need too. What is newer than its lock file is left as it is.
set -eu
cd "$(dirname "$0")/.."
python=$1 venv=$2 kind=$3

fail() {
  echo "$*" >&2
  exit 1
}

# One at a time: two installations into one folder break each other. The lock goes with this process, however it ends.
exec 9<Makefile
if command -v flock >/dev/null && ! flock -n 9; then
  echo "waiting for another make, which prepares $venv"
  flock 9
fi

case $kind in
run) lock=requirements.lock ;;
dev) lock=requirements-dev.lock ;;
*) fail "cannot prepare '$kind': run or dev is expected" ;;
esac
stamp=$venv/.$kind
if [ "$stamp" -nt "$lock" ] && [ "$stamp" -nt pyproject.toml ] && "$venv/bin/python" -c '' 2>/dev/null; then
  exit 0 # another make has done it meanwhile
fi

place=.
[ ! -e "$venv" ] || place=$venv
[ -w "$place" ] || fail "cannot write in $(realpath "$place"), which belongs to $(stat -c %U "$place"): run make as that user, or take a copy of your own"

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then # it is missing, or only half there
  command -v "$python" >/dev/null || fail "cannot find $python: on Debian, apt-get install python3-venv; else set PYTHON=/path/to/python3.11"
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "cannot use $python: it is Python $version, and orchd needs 3.11 or newer.
On Ubuntu 22.04: apt-get install python3.11-venv, then make demo PYTHON=python3.11 (or another target).
Elsewhere: PYTHON=/path/to/python3.11, or orchd in a container (deploy/Dockerfile), which brings its own."
  "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "cannot make a virtual environment with $python: it has no ensurepip; on Debian, apt-get install python3-venv (python$version-venv for a Python beside the system's)"
  echo "preparing $venv (once; about a minute)"
  rm -rf "$venv"
  "$python" -m venv "$venv" || {
    rm -rf "$venv"
    fail "cannot make a virtual environment in $(realpath -m "$venv"): see above"
  }
fi

pip() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || fail "cannot install into $venv: see above"
}
pip --require-hashes -r "$lock"
[ "$kind" = dev ] || pip --no-deps --no-build-isolation --editable .
touch "$stamp"
