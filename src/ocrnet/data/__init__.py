"""From files to training samples: the image reader, labels, data sets, splits, transforms, the loader.

Uses `config`, `formats` and `runtime`.
"""
