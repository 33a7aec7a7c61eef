"""The process: its device, memory, signals, exit status and progress bars.

Uses `distributed`.
"""
