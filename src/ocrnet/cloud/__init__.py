"""ModelArts and OpenI jobs, and buckets in OBS or S3.

Uses `config`, `distributed` and `runtime`.
"""
