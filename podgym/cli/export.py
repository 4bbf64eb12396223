"""``podgym export``: a trained policy as one ONNX file, or as stable-baselines3's archive."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from podgym.errors import InputError

if TYPE_CHECKING:
    from podgym.agents.actor import Policy

NAME = "export"
HELP = "write a trained policy as one ONNX file, normalisation, prior and choice inside, or for SB3"

_EPILOG = """\
examples:
  podgym export burst.policy --to burst.onnx
  podgym export burst.policy --to burst.zip      # for PPO.load of stable-baselines3

The ONNX file needs neither torch nor podgym to decide: any ONNX runtime reads it, and it says in its metadata
which numbers it takes in which order and what its choices mean. podgym itself checks its hash before it reads
anything, and every observation before it decides: the graph alone would decide on NaN. `podgym evaluate
--agent FILE.onnx` runs it. A forecaster behind the observation has a file of its own, see podgym forecast
export.

The archive for stable-baselines3 holds the actor and a new critic. It is a pickle, which runs whatever it
holds: load no one else's. podgym itself loads none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("policy", metavar="POLICY", help="a file of `podgym train`")
    parser.add_argument(
        "--to", metavar="FILE", help="file to write, .onnx or .zip (default: POLICY with .onnx)"
    )
    parser.add_argument("--json", action="store_true", help="print the description of the policy as JSON")


def run(args: argparse.Namespace) -> int:
    """Export and report.

    Raises:
        InputError: no such file, one that is no policy, or a file that cannot be written; nothing is written
            then.
    """
    from podgym.agents.onnx_export import export_policy_onnx
    from podgym.agents.policy_file import load_policy
    from podgym.files import to_json

    source = Path(args.policy)
    if source.suffix == ".onnx":
        raise InputError(f"{source} is an exported policy already.")
    policy = load_policy(source)
    target = Path(args.to) if args.to else source.with_suffix(".onnx")
    path = _zip(policy, target) if target.suffix == ".zip" else export_policy_onnx(policy, target)
    description = policy.description
    if args.json:
        print(to_json({"file": str(path), **description.as_dict()}))
        return 0
    network = description.network
    layers = [*([f"LSTM {network.lstm_size}"] if network.lstm_size else []), *map(str, network.hidden)]
    choices = " x ".join(map(str, description.action_nvec))
    facts = {
        "environment": description.environment,
        "algorithm": description.algorithm,
        "takes": f"{len(description.observation_names)} numbers, named in the file",
        "network": f"{' - '.join(layers) or 'linear'}, {network.activation}",
        "prior": "the plan" if description.prior else "none",
        "gives": f"an action of {choices} choices",
    }
    for name, text in facts.items():
        print(f"  {name:<12} {text}")
    print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0


def _zip(policy: "Policy", target: Path) -> Path:
    from podgym.agents.sb3_export import export_sb3_zip

    return export_sb3_zip(policy, target)
