"""From a trained network to class maps: preprocessing, test-time augmentation, engines, ONNX.

Uses `data`, `models` and `weights`.
"""
