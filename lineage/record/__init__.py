"""Record: what a run used, did and made.

``start.start_run`` begins a record and returns the live run; ``identity`` computes what an input *is*; ``metrics`` buffers what a run logs;
``upload`` and ``view`` are the tracked jobs behind the commands of the same names. Plain functions over ports: nothing here prints.
"""
