#!/usr/bin/env bash
# First step of the image: a virtual environment at $1 that holds what the gateway runs on, every file checked by hash.
#
# It gets no pip: the one of $PYTHON (python3) installs into it. Another index, proxy or authority is pip's own business:
# PIP_… variables or pip.conf, from outside.
set -euo pipefail

prefix=${1:?where the environment goes}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python3}

"$python" -m venv --without-pip --clear "$prefix"
"$python" -m pip --python "$prefix/bin/python" install --quiet --disable-pip-version-check --no-input \
  --root-user-action=ignore --no-compile --only-binary :all: --require-hashes -r "$root/requirements/runtime.txt"

# Compiled once, for a file system that nobody may write to. By hash and unchecked: copying files changes their times.
"$prefix/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$prefix/lib"
