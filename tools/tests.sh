#!/usr/bin/env bash
# tests.sh PYTHON FLAGS...: all tests side by side. If only a few fail, they are run once more, one by one: side by side
# on a small machine a test can wait too long for what others keep busy. Such a test is named, and is to be mended.
set -uo pipefail
python=$1; shift
few=5
failed=.pytest_cache/v/cache/lastfailed

rm -f "$failed"
"$python" -m pytest -q "$@"
code=$?
[ "$code" -eq 1 ] && [ -s "$failed" ] || exit "$code"
count=$("$python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$failed")
[ "$count" -le "$few" ] || exit "$code"

names=$("$python" -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))))' "$failed")
echo "== $count failed side by side, and are run again one by one:"
echo "$names"
"$python" -m pytest -q --last-failed --last-failed-no-failures none || exit
echo "== passed only when run again; each of them is to be mended:"
echo "$names"
