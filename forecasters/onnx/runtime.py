"""ONNX Runtime: a session for the bytes of an exported file."""

from typing import TYPE_CHECKING

from podgym.errors import InputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(content: bytes, origin: str, threads: int = 1) -> "InferenceSession":
    """Return a session that computes on the CPU, one node of the graph after the other.

    Args:
        content: all bytes of the file, verified.
        origin: name of the file, for messages.
        threads: threads of one inference.

    Raises:
        InputError: ONNX Runtime is not installed, or cannot run the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("ONNX Runtime is not installed; pip install 'podgym[forecast]'.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a different error for each reason
        raise InputError(
            f"{origin} is whole, but ONNX Runtime {onnxruntime.__version__} cannot run it: {error}. Install "
            "a newer ONNX Runtime, or export the file again."
        ) from error
