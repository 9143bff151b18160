"""Recording what plain Deep Lake and Weights & Biases code does, without a change to it.

The package is not called as the function is (:func:`lineage.autolog`): a module of that name would hide it.
"""
