"""Published networks by name: what is known about them (`published`), downloads, and the cache of converted weights.

Uses `config`, `models` and `weights`.
"""
