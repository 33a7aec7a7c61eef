"""A web page on this computer that segments one image at a time.

Uses `data`, `inference` and `visualization`; `scripts/demo_page.py` starts it.
"""
