#!/usr/bin/env bash
# A Kubernetes cluster on this machine with the demo service, Prometheus and an account for podgym.
#
#   deploy/kind/testbed.sh up [--with-hpa]   make it, or bring it up to date; may be repeated
#   deploy/kind/testbed.sh status            what is there
#   deploy/kind/testbed.sh kubectl ...       kubectl with every right, whatever KUBECONFIG says
#   deploy/kind/testbed.sh down              remove all of it
#
# Needs docker, kind (v0.33.0), kubectl and curl. It keeps two files, and leaves your own kubeconfig alone:
# testbed.kubeconfig, podgym's account with least privilege, for you to export as KUBECONFIG; and
# testbed-admin.kubeconfig, which may do everything, for this script alone.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deploy=$(dirname "$here")
cluster=podgym
image=podgym-demo:0.1.0
metrics_server=https://github.com/kubernetes-sigs/metrics-server/releases/download/v0.8.1/components.yaml
kubeconfig=${PODGYM_TESTBED_KUBECONFIG:-${XDG_STATE_HOME:-$HOME/.local/state}/podgym/testbed.kubeconfig}
# Never $KUBECONFIG: the shell that runs podgym names the file with least privilege there.
admin_kubeconfig=${kubeconfig%.kubeconfig}-admin.kubeconfig
admin=(kubectl --kubeconfig "$admin_kubeconfig" --context "kind-$cluster")

say() { printf '== %s\n' "$*"; }

fail() {
    printf 'testbed.sh: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

need() {
    local tool hint
    for tool in docker kind kubectl curl; do
        case $tool in
            docker) hint="https://docs.docker.com/engine/install/" ;;
            kind) hint="https://kind.sigs.k8s.io/docs/user/quick-start/#installation (v0.33.0)" ;;
            kubectl) hint="https://kubernetes.io/docs/tasks/tools/" ;;
            *) hint="your system's packages" ;;
        esac
        command -v "$tool" >/dev/null || fail "there is no $tool on the PATH; see $hint"
    done
    docker info >/dev/null 2>&1 || fail "docker does not answer; is its daemon running, and may you use it?"
}

exists() {
    kind get clusters 2>/dev/null | grep -qx "$cluster"
}

renew_admin_kubeconfig() {
    mkdir -p "$(dirname "$admin_kubeconfig")"
    kind export kubeconfig --name "$cluster" --kubeconfig "$admin_kubeconfig" --quiet ||
        fail "kind gives no credentials for the cluster $cluster"
}

make_cluster() {
    if exists; then
        say "cluster $cluster is there"
        renew_admin_kubeconfig
        return
    fi
    say "making cluster $cluster (1 control plane, 4 workers; about two minutes)"
    mkdir -p "$(dirname "$admin_kubeconfig")"
    kind create cluster --config "$here/kind.yaml" --kubeconfig "$admin_kubeconfig" --wait 180s
}

load_image() {
    say "building and loading $image"
    docker build --quiet --tag "$image" "$deploy/demo" >/dev/null
    kind load docker-image "$image" --name "$cluster"
}

install_metrics_server() {
    local deployment=deployment/metrics-server option=--kubelet-insecure-tls
    say "installing metrics-server, which the HPA needs"
    "${admin[@]}" apply --filename "$metrics_server" >/dev/null
    # The kubelets of kind sign their certificates themselves.
    "${admin[@]}" --namespace kube-system patch "$deployment" --type json --patch \
        "[{\"op\": \"add\", \"path\": \"/spec/template/spec/containers/0/args/-\", \"value\": \"$option\"}]" >/dev/null
    "${admin[@]}" --namespace kube-system rollout status "$deployment" --timeout 180s
}

# What "up --with-hpa" adds to the base. An HPA that stayed would go on scaling. metrics-server may stay: it scales
# nothing.
remove_hpa() {
    "${admin[@]}" --namespace demo delete hpa/web role/podgym-take-over rolebinding/podgym-take-over --ignore-not-found
}

# kubectl removes a field that it applied once and that is missing now, and a Deployment without "replicas" gets
# 1. So it must forget that it ever applied them, before the overlay without them comes.
leave_replicas_alone() {
    local applied view=(--namespace demo apply view-last-applied deployment/web --output yaml)
    if ! applied=$("${admin[@]}" "${view[@]}" 2>/dev/null); then # not there yet: begin with those of the base
        "${admin[@]}" apply --kustomize "$deploy/manifests/base" >/dev/null
        applied=$("${admin[@]}" "${view[@]}")
    fi
    sed '/^  replicas:/d' <<<"$applied" |
        "${admin[@]}" --namespace demo apply set-last-applied --filename - >/dev/null
}

apply() {
    say "applying manifests/$1"
    "${admin[@]}" apply --kustomize "$deploy/manifests/$1"
    # A new image under the same tag, and a new configuration, reach only new pods.
    "${admin[@]}" --namespace demo rollout restart deployment/web >/dev/null
    "${admin[@]}" --namespace monitoring rollout status deployment/prometheus --timeout 180s
    "${admin[@]}" --namespace demo rollout status deployment/web --timeout 180s
}

# Both metrics that podgym cannot do without: requests of the demo, CPU of its containers.
seen() {
    local query
    for query in 'http_requests_total%7Bnamespace%3D%22demo%22%7D' \
        'container_cpu_usage_seconds_total%7Bnamespace%3D%22demo%22%7D'; do
        curl --fail --silent --max-time 3 "http://localhost:9090/api/v1/query?query=$query" |
            grep --quiet '"pod":"web-' || return 1
    done
}

wait_for_metrics() {
    local attempt
    say "waiting until Prometheus sees the demo and its containers"
    for attempt in $(seq 60); do
        if seen; then
            say "it does, after $attempt looks"
            return
        fi
        sleep 2
    done
    fail "Prometheus sees nothing of the demo; look at http://localhost:9090/targets and at: $0 status"
}

# The token goes from kubectl into a file that only its owner can read; it is on no command line and no screen.
write_kubeconfig() {
    local server authority token
    server=$("${admin[@]}" config view --minify --output 'jsonpath={.clusters[0].cluster.server}')
    authority=$("${admin[@]}" config view --minify --raw \
        --output 'jsonpath={.clusters[0].cluster.certificate-authority-data}')
    token=$("${admin[@]}" --namespace podgym create token podgym --duration 24h)
    mkdir -p "$(dirname "$kubeconfig")"
    (
        umask 077
        cat >"$kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: podgym-testbed
clusters:
  - name: podgym-testbed
    cluster:
      server: $server
      certificate-authority-data: $authority
users:
  - name: podgym-testbed
    user:
      token: $token
contexts:
  - name: podgym-testbed
    context:
      cluster: podgym-testbed
      user: podgym-testbed
      namespace: demo
END
        chmod 600 "$kubeconfig"
    )
}

up() {
    local overlay=base
    case ${1:-} in
        "") ;;
        --with-hpa) overlay=with-hpa ;;
        *) fail "unknown option $1; allowed: --with-hpa" ;;
    esac
    need
    make_cluster
    load_image
    if [ "$overlay" = with-hpa ]; then
        install_metrics_server
        leave_replicas_alone
    else
        remove_hpa
    fi
    apply "$overlay"
    wait_for_metrics
    write_kubeconfig
    say "ready. Prometheus: http://localhost:9090, the demo: http://localhost:8080/work"
    cat <<END
Next (the account is good for 24 hours; "up" renews it):

  export KUBECONFIG=$kubeconfig
  podgym evaluate --cluster deploy/podgym.yml --mode shadow --controller hpa --episode-minutes 5 \\
    --load "python deploy/load/run.py --scenario burst --scale 0.1 --latency-s 0.097 \\
            --url http://localhost:8080 --duration-s {duration_s} --seed {seed} --output {output}"

To stop podgym from anywhere, take its permission ("up" gives it back):

  $0 kubectl -n demo delete rolebinding podgym-act
END
}

status() {
    need
    exists || fail "there is no cluster $cluster; make it with: $0 up"
    renew_admin_kubeconfig
    "${admin[@]}" get nodes --output wide
    "${admin[@]}" --namespace demo get deployments,horizontalpodautoscalers,pods --output wide
    "${admin[@]}" --namespace monitoring get pods
    "${admin[@]}" --namespace demo get events --sort-by=.lastTimestamp | tail -n 15
    if seen; then say "Prometheus sees the demo"; else say "Prometheus does NOT see the demo"; fi
}

as_admin() {
    [ -s "$admin_kubeconfig" ] || fail "there is no $admin_kubeconfig; \"$0 up\" or \"$0 status\" writes it"
    exec "${admin[@]}" "$@"
}

down() {
    need
    if exists; then
        kind delete cluster --name "$cluster" --kubeconfig "$admin_kubeconfig"
    else
        say "there is no cluster $cluster"
    fi
    rm -f "$kubeconfig" "$admin_kubeconfig"
}

case ${1:-} in
    up) shift; up "$@" ;;
    status) status ;;
    kubectl) shift; as_admin "$@" ;;
    down) down ;;
    -h | --help) usage ;;
    *) usage >&2; exit 2 ;;
esac
