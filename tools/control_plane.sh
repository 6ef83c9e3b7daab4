#!/usr/bin/env bash
# Build a Kubernetes control plane from the Go module proxy, for `make test-cluster` on a machine that can pull no image.
#
#   tools/control_plane.sh FOLDER        etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and CRDs, into FOLDER
#
# Needs Go and kubectl; ten minutes on two cores.  KUBERNETES, ETCD, GATEWAY_API and PROMETHEUS_OPERATOR choose versions.
set -euo pipefail
folder=$(mkdir -p "${1:?a folder is wanted}" && cd "$1" && pwd)
kubernetes=${KUBERNETES:-1.37.2} etcd=${ETCD:-3.6.6} gateway_api=${GATEWAY_API:-1.6.3} prometheus_operator=${PROMETHEUS_OPERATOR:-0.85.0}
export CGO_ENABLED=0 GOFLAGS=-mod=mod GOWORK=off

module() { # its source, read-only
  (cd "$folder" && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
}

writable() { # a copy whose go.mod may change, without its replace directives that lead into the repository
  rm -rf "${folder:?}/src" && cp -r "$(module "$1")" "$folder/src" && chmod -R u+w "$folder/src" && rm -f "$folder"/src/go.work*
}

if [ ! -x "$folder/kube-scheduler" ]; then
  writable "k8s.io/kubernetes@v$kubernetes"
  # the parts that are published as modules of their own have the same minor and patch version, under v0
  sed -i -E "s#=> \./staging/src/(k8s\.io/[a-z0-9-]+)\$#=> \1 v0.${kubernetes#*.}#" "$folder/src/go.mod"
  stamp="-s -w -X k8s.io/component-base/version.gitVersion=v$kubernetes"
  for part in kube-apiserver kube-controller-manager kube-scheduler; do
    echo "building $part $kubernetes"
    (cd "$folder/src" && go build -ldflags "$stamp" -o "$folder/$part" "./cmd/$part")
  done
fi
if [ ! -x "$folder/etcd" ]; then
  echo "building etcd $etcd"
  writable "go.etcd.io/etcd/server/v3@v$etcd"
  sed -i '/^replace (/,/^)/d' "$folder/src/go.mod"
  (cd "$folder/src" && go build -ldflags '-s -w' -o "$folder/etcd" .)
fi
chmod -R u+w "$folder/src" 2>/dev/null && rm -rf "$folder/src"
mkdir -p "$folder/crds"
cp "$(module "sigs.k8s.io/gateway-api@v$gateway_api")"/config/crd/standard/gateway.networking.k8s.io_*.yaml "$folder/crds"
operator=$(module "github.com/prometheus-operator/prometheus-operator@v$prometheus_operator")/example/prometheus-operator-crd
cp "$operator"/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml "$folder/crds"
chmod -R u+w "$folder/crds"
ls "$folder"
