"""`python -m ocrnet` is the command `ocrnet`."""

from ocrnet.console import main

main()
