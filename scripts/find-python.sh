#!/usr/bin/env bash
# Prints the interpreter to build the environment with: Python 3.11 or newer, with venv.
# PYTHON=/path/to/python settles the choice; otherwise python3, then python3.13, 3.12 and 3.11.
set -euo pipefail

usable='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
version_of() { "$1" -c 'import platform; print(platform.python_version())' 2>/dev/null; }

if [[ -n ${PYTHON:-} ]]; then
  candidates=("$PYTHON")
else
  candidates=(python3 python3.13 python3.12 python3.11)
fi

found=()
for candidate in "${candidates[@]}"; do
  if version=$(version_of "$candidate"); then
    if "$candidate" -c "$usable" 2>/dev/null; then
      command -v "$candidate"
      exit 0
    fi
    found+=("$candidate is $version")
  else
    found+=("$candidate does not run")
  fi
done

{
  echo "LLM Gateway needs Python 3.11 or newer with the venv module (on Debian: python3-venv). Tried:"
  printf '  %s\n' "${found[@]}"
  echo "Install one, or name it: make PYTHON=/path/to/python3.12 …"
} >&2
exit 1
