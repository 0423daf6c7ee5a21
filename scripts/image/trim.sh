#!/usr/bin/env bash
# Makes the Python at $1 (a prefix such as /usr/local) one that runs programs and installs none.
#
# Its library is compiled besides: the official images come without .pyc files, and on a read-only file system every start
# would compile anew.
set -euo pipefail

prefix=${1:?the prefix of a Python}
python=$prefix/bin/python3

"$python" -m pip uninstall --quiet --disable-pip-version-check --yes --root-user-action=ignore pip
rm -rf "$prefix"/lib/python3.*/ensurepip "$prefix"/bin/pip*
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -x '/(lib2to3|test|tests|idlelib)/' "$prefix"/lib/python3.*
