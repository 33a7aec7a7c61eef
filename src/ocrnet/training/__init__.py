"""Training: the step, losses, optimizer, loop, checkpoints, log.

Uses `data`, `models`, `weights`, `inference` and `evaluation`.
"""
