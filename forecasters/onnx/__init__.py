"""Networks without torch: one ONNX file that carries its scaler, its manifest and its hash.

In reading order: ``export`` (from a trained network to a file), ``graph`` (how it is traced), ``file`` (what
the file holds and how it is checked), ``model`` (the forecaster that runs it).
"""
