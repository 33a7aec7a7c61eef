"""Public data sets as their owners publish them: where the files lie, classes, colours, what label values mean.

Uses nothing but `errors` and `files`.
"""
