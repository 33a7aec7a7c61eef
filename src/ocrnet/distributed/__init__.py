"""Distributed training: launchers and ranks, MindSpore's cluster, collective operations.

Uses nothing of the other folders.
"""
