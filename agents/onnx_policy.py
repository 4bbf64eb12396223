"""Deciding with an exported policy: ONNX Runtime, without torch and without the policy's own file.

The bytes of a file are compared with the hash behind them before anything in it is parsed, see
``podgym.forecasters.onnx.file``. Observations are checked before they go in: ONNX Runtime decides on nan as
if it were a number.
"""

import json
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from podgym.agents.actor import Actor, LstmState
from podgym.agents.description import FORMAT, PolicyDescription
from podgym.errors import InputError
from podgym.files import missing_with_hint
from podgym.forecasters.onnx.file import MANIFEST_KEY, seal
from podgym.forecasters.onnx.runtime import open_session

OBSERVATION, H, C = "observation", "h", "c"
"""Inputs of the graph: float32 (batch, n) and, with an LSTM, (batch, lstm_size) twice."""
ACTION, LOGITS, NEXT_H, NEXT_C = "action", "logits", "next_h", "next_c"
"""Outputs: int64 (batch, k), float32 (batch, sum of the choices) and the state for the next step."""

_EXPORT_AGAIN = "Export the policy again (`podgym export`) or restore a copy."


class OnnxPolicy(Actor):
    """An exported policy; it decides as the policy that it was made of. Made by ``load_onnx_policy``."""

    def __init__(self, content: bytes, origin: str) -> None:
        """Verify, read and prepare the bytes of a file.

        Args:
            content: all bytes of the file.
            origin: name of the file, for messages.

        Raises:
            InputError: see ``load_onnx_policy``.
        """
        _verify(content, origin)
        session = open_session(content, origin)
        super().__init__(_description(session.get_modelmeta().custom_metadata_map, origin))
        self._session = session
        self._source = (content, origin)

    def __reduce__(self) -> tuple[type[Self], tuple[bytes, str]]:
        """Be copied and sent to other processes as the bytes of the file: a session cannot be."""
        return type(self), self._source

    def _compute(
        self, observations: NDArray[np.float32], state: LstmState | None
    ) -> tuple[NDArray[np.float32], LstmState | None]:
        if state is None:
            return self._run([LOGITS], {OBSERVATION: observations})[0], None
        inputs = {OBSERVATION: observations, H: state.h, C: state.c}
        logits, h, c = self._run([LOGITS, NEXT_H, NEXT_C], inputs)
        return logits, LstmState(h, c)

    def _run(self, outputs: list[str], inputs: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        result: list[NDArray[np.float32]] = self._session.run(outputs, inputs)
        return result


def load_onnx_policy(path: str | Path) -> OnnxPolicy:
    """Load an exported policy, after verifying every byte of its file.

    Raises:
        InputError: a missing, damaged or foreign file, another format version, or ONNX Runtime is not
            installed.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_with_hint(path, (".onnx",))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return OnnxPolicy(content, str(path))


def _verify(content: bytes, origin: str) -> None:
    """Refuse content that is not what was sealed."""
    model = content[: -len(seal(b""))]
    if model and seal(model) == content:
        return
    if MANIFEST_KEY.encode() in content:
        raise InputError(f"{origin} was cut, or changed after the export. {_EXPORT_AGAIN}")
    raise InputError(f"{origin} is no ONNX file of podgym: it carries no manifest. {_EXPORT_AGAIN}")


def _description(entries: dict[str, str], origin: str) -> PolicyDescription:
    try:
        manifest: Any = json.loads(entries.get(MANIFEST_KEY, ""))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{origin} has a manifest that is no JSON. {_EXPORT_AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputError(f"{origin} is no exported policy; `podgym export` writes one.")
    try:
        return PolicyDescription.from_dict(manifest)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
