"""Pure values: what a run was, what its data were, what a reproduction needs and how it came out.

``run.Run`` is the record; ``event`` tells how it grows; ``dataset.InputRecord`` is the identity of an input; ``digest`` holds the
only names that denote content. Nothing here touches a file, a process or a network.
"""
