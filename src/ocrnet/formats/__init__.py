"""Public data sets as they are published: file layout, classes, colours and label values.

Uses only `errors` and `files`.
"""
