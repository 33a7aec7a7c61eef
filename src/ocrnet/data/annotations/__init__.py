"""Files of annotation programs: a file per format, which reads it and, for some, writes it.

`reading` finds out the format. `shapes` has what all formats share. The files are not trusted: no code in them is run,
and file names in them must stay in their folder.
"""
