"""Before a training: what in the data set or the recipe will cost score, and the lines of YAML that help.

Uses `config`, `data`, `formats`, `distributed` and `runtime`.
"""
