"""Before a training: mistakes in the data set and the recipe that lower the score, and the lines of YAML that help.

Uses `config`, `data`, `formats`, `distributed` and `runtime`.
"""
