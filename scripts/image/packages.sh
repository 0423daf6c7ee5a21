#!/usr/bin/env bash
# Second step of the image: builds wheels of the client and the gateway from this tree and installs them at $1.
#
# What builds them lives in an environment of its own that is thrown away; nothing is downloaded but that, by hash.
set -euo pipefail

prefix=${1:?where the environment is}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python3}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip() { # $1: the environment that pip works on
  "$python" -m pip --python "$1/bin/python" "${@:2}" --quiet --disable-pip-version-check --no-input
}

"$python" -m venv --without-pip "$work/builder"
pip "$work/builder" install --root-user-action=ignore --require-hashes -r "$root/requirements/build.txt"
pip "$work/builder" wheel --no-deps --no-build-isolation --wheel-dir "$work/wheels" "$root/clients/python" "$root"
pip "$prefix" install --root-user-action=ignore --no-compile --no-deps --no-index "$work"/wheels/*.whl

site=$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$prefix/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$site"/llmgateway "$site"/llmgateway_server
"$prefix/bin/llmgateway" version > /dev/null
