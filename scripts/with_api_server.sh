#!/usr/bin/env bash
# Runs a command against a real API server of its own, without containers: KUBECONFIG names it, and it is gone
# afterwards.
#
#   scripts/with_api_server.sh FOLDER COMMAND [ARGUMENT ...]
#   make cluster-test KUBEBUILDER_ASSETS=FOLDER
#
# FOLDER holds etcd and kube-apiserver, as `setup-envtest use --print path 1.34` prepares it. Where it holds
# kube-controller-manager too, Deployments get their pods, which nothing starts. Needs curl and openssl.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
binaries=$1
shift
for name in etcd kube-apiserver; do
    if [ ! -x "$binaries/$name" ]; then
        echo "$0: there is no $name in $binaries; setup-envtest use --print path prepares such a folder" >&2
        exit 2
    fi
done

folder=$(mktemp -d)
processes=()
stop() {
    for ((i = ${#processes[@]} - 1; i >= 0; i--)); do
        kill "${processes[i]}" 2>/dev/null || true
        wait "${processes[i]}" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 143' TERM

free_port() {
    python3 -c 'import socket; own = socket.socket(); own.bind(("127.0.0.1", 0)); print(own.getsockname()[1])'
}

begin() {
    local log=$folder/$(basename "$1").log
    "$@" >"$log" 2>&1 &
    processes+=($!)
}

give_up() {
    echo "$0: $1; its last words:" >&2
    tail -n 5 "$folder/$2.log" >&2
    exit 1
}

store=$(free_port) peers=$(free_port) secure=$(free_port)
token=$(openssl rand -hex 16)
(umask 077 && echo "$token,admin,admin,system:masters" >"$folder/tokens.csv")
openssl genrsa -out "$folder/accounts.key" 2048 2>/dev/null

begin "$binaries/etcd" --data-dir "$folder/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$store" --advertise-client-urls "http://127.0.0.1:$store" \
    --listen-peer-urls "http://127.0.0.1:$peers"
begin "$binaries/kube-apiserver" --etcd-servers "http://127.0.0.1:$store" \
    --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$secure" \
    --cert-dir "$folder/certificates" --service-cluster-ip-range 10.0.0.0/24 \
    --authorization-mode RBAC --token-auth-file "$folder/tokens.csv" \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$folder/accounts.key" \
    --service-account-signing-key-file "$folder/accounts.key"

server=https://127.0.0.1:$secure
authority=$folder/certificates/apiserver.crt
for ((waited = 0; ; waited++)); do
    kill -0 "${processes[1]}" 2>/dev/null || give_up "kube-apiserver ended" kube-apiserver
    curl --silent --noproxy '*' --cacert "$authority" --header "Authorization: Bearer $token" "$server/readyz" 2>/dev/null |
        grep -qx ok && break
    [ "$waited" -lt 120 ] || give_up "kube-apiserver is not ready" kube-apiserver
    sleep 0.5
done

export KUBECONFIG=$folder/kubeconfig NO_PROXY=127.0.0.1
(
    umask 077
    cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
current-context: own
clusters: [{name: own, cluster: {server: "$server", certificate-authority: "$authority"}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: own, context: {cluster: own, user: admin}}]
END
)
if [ -x "$binaries/kube-controller-manager" ]; then
    begin "$binaries/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false \
        --use-service-account-credentials --service-account-private-key-file "$folder/accounts.key"
fi
"$@"
