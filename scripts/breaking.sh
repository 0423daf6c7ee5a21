#!/usr/bin/env bash
# Fails if the protos break clients of the last release: buf's FILE rules against the committed protos/released.binpb.
# $1: the buf command. A release moves the image forward with `make release-image`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

buf=${1:-.venv/bin/buf}
released=protos/released.binpb

if [[ ! -f $released ]]; then
  echo "breaking: $released is missing; write it with \`make release-image\` and commit it" >&2
  exit 1
fi
exec "$buf" breaking protos --against "$released"
