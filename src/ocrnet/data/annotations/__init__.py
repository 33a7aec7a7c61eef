"""Files of annotation programs: a file per format, which reads it and, for some, writes it.

`reading` finds out the format, `writing` has those that are written, `shapes` what all formats share. The files are not
trusted: no code in them is run, and file names in them must stay in their folder.
"""
