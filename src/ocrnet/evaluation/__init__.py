"""Scores of predictions: the evaluator, metrics, the report, and the ranking of labels.

Uses `data` and `inference`.
"""
