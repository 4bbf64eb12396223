"""``podgym forecast export``: a trained network as one ONNX file."""

import argparse
import json
from pathlib import Path

from podgym.errors import InputError

HELP = "write a trained network as one self-contained ONNX file, with its scaler and its manifest"

_EPILOG = """\
example:
  podgym forecast export alibaba.forecaster alibaba.onnx

The file needs neither torch nor podgym to run: any ONNX runtime reads it, and it says in its metadata which
features in which units over which window it takes. podgym itself checks its hash before it reads anything,
and every input before it runs: an LSTM in ONNX Runtime turns NaN into plausible numbers."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the subcommand."""
    parser.epilog = _EPILOG
    parser.add_argument("model", metavar="FILE", help="a file written by podgym forecast train")
    parser.add_argument("output", metavar="ONNX", nargs="?", help="file to write (default: FILE with .onnx)")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(args: argparse.Namespace) -> int:
    """Export and report.

    Raises:
        InputError: no such file, or a model that is not a network; nothing is written then.
    """
    from podgym.files import to_json
    from podgym.forecasters.onnx.export import export_onnx
    from podgym.forecasters.recurrent import NetworkForecaster
    from podgym.forecasters.store import load_forecaster

    if Path(args.model).suffix == ".onnx":
        raise InputError(f"{args.model} is an exported model already.")
    forecaster = load_forecaster(args.model)
    if not isinstance(forecaster, NetworkForecaster):
        raise InputError(
            f"{args.model} holds {forecaster.name!r}, which is not a network; models that can be exported: "
            "paper_lstm, lstm, gru, hybrid."
        )
    path = Path(args.output) if args.output else Path(args.model).with_suffix(".onnx")
    if path.suffix != ".onnx":
        raise InputError(f"{path}: the file of an exported model ends in .onnx.")
    manifest = export_onnx(forecaster, path)
    content = {**json.loads(manifest.to_json()), "sha256": manifest.sha256}
    if args.json:
        print(to_json({"file": str(path), **content}))
        return 0
    for name in sorted(content):
        text = str(content[name])
        print(f"  {name:<18} {text if len(text) <= 90 else text[:87] + '...'}")
    print(f"wrote {path}, {path.stat().st_size:,} bytes")
    return 0
