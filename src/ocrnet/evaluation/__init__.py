"""Scores of predictions: the evaluator, metrics and the report.

Uses `data` and `inference`.
"""
