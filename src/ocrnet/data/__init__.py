"""From files to training samples: image reader, labels, data sets, splits, transforms and data loader.

Uses `config`, `formats` and `runtime`.
"""
