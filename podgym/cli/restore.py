"""``podgym restore``: bring Deployments back to what a run found, after it was killed."""

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.envs.kubernetes.api import KubernetesApi
    from podgym.envs.kubernetes.settings import KubernetesSettings, TargetSettings

NAME = "restore"
HELP = "bring Deployments on a real cluster back to what a run found, after it was killed"

_FAILED = 1
_EPILOG = """\
examples:
  everything that the settings of a cluster name:
    podgym restore --cluster deploy/podgym.yml
  one Deployment, in the current context:
    podgym restore --namespace demo --deployment web
  what would be done, checked by the API server, which keeps nothing:
    podgym restore --cluster deploy/podgym.yml --dry-run

A run notes replicas, quotas and whatever managed them in the annotation podgym.dev/before before it changes
anything, and takes the note away when it has restored them. As long as the note is there, nothing else is
needed to undo the run. Do not restore under a run that is still going: it would yield and stop.

On Linux the load of a run that was killed ends with it; children of the load may be left. Its process group
is in load.pgid in the folder of the episode, and this stops it:
    kill -- -$(cat results/live/hpa-seed0/load.pgid)

Exit status: 0, also when there was nothing to do; 1 if something could not be restored, and the note stays; 2
for bad input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--cluster", metavar="FILE.yml", help="settings of a cluster: all of its services")
    parser.add_argument("--namespace", metavar="NAME", help="namespace of one Deployment, without --cluster")
    parser.add_argument("--deployment", metavar="NAME", help="its name")
    parser.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig (default: the current one)"
    )
    parser.add_argument(
        "--kubeconfig", metavar="FILE", help="kubeconfig (default: $KUBECONFIG, ~/.kube/config)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and keep nothing of it"
    )


def run(args: argparse.Namespace) -> int:
    """Restore, and say what was done.

    Raises:
        InputError: options that do not go together, bad settings, or no credentials.
    """
    from podgym.envs.kubernetes.errors import ClusterError

    settings = dataclasses.replace(_settings(args), mode="dry_run" if args.dry_run else "act")
    api = _open(settings)
    failed = False
    for name, target in settings.services.items():
        where = f"{target.namespace}/{target.deployment or name}"
        try:
            done = _restored(api, name, target)
        except (ClusterError, InputError) as error:
            print(f"podgym: error: {where}: {' '.join(str(error).split())}", file=sys.stderr)
            failed = True
            continue
        if not done:
            print(f"{where}: nothing to restore; no run left a note.")
        for each in done:
            print(f"{where}: {'dry run: ' if args.dry_run else ''}{each}")
    return _FAILED if failed else 0


def _settings(args: argparse.Namespace) -> "KubernetesSettings":
    """Return the settings of the file, or of the one Deployment that is named."""
    from podgym.envs.kubernetes.settings import parse_settings, read_settings

    if args.cluster is not None:
        for option in ("namespace", "deployment"):
            if getattr(args, option) is not None:
                raise InputError(f"--{option} does not go with --cluster, whose file names the Deployments.")
        return _with_connection(read_settings(args.cluster), args)
    if args.namespace is None or args.deployment is None:
        raise InputError("say what to restore: --cluster FILE.yml, or --namespace and --deployment.")
    service = {"namespace": args.namespace, "deployment": args.deployment}
    content = {"services": {args.deployment: service}, "metrics": {"source": "metrics-server"}}
    return _with_connection(parse_settings(content), args)


def _with_connection(settings: "KubernetesSettings", args: argparse.Namespace) -> "KubernetesSettings":
    given = {
        name: getattr(args, name) for name in ("context", "kubeconfig") if getattr(args, name) is not None
    }
    return dataclasses.replace(settings, **given)


def _open(settings: "KubernetesSettings") -> "KubernetesApi":
    from podgym.envs.kubernetes.errors import ClusterError

    try:
        from podgym.envs.kubernetes.opening import open_api
    except ImportError as error:
        raise InputError(
            f"a real cluster needs a library that is not installed ({error.name}); pip install 'podgym[k8s]'."
        ) from error
    try:
        return open_api(settings)
    except ClusterError as error:
        raise InputError(str(error)) from error


def _restored(api: "KubernetesApi", name: str, target: "TargetSettings") -> tuple[str, ...]:
    """Restore one Deployment; return what was done, in words.

    Raises:
        ClusterError: it cannot be read or written; the note stays.
        InputError: the note cannot be read.
    """
    from podgym.envs.kubernetes.snapshot import load, restore

    api.begin_step()
    deployment = api.deployment(target.namespace, target.deployment or name)
    snapshot = load(deployment)
    return () if snapshot is None else restore(api, deployment, snapshot)
