"""Weight files: checkpoints of this program, files and parameter names of other projects, downloads.

Uses `config`.
"""
