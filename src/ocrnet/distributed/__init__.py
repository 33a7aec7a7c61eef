"""Which rank this process is, how the ranks come together, and what they do together.

Uses nothing of the other folders.
"""
