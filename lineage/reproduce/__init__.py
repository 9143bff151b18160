"""Reproduce: plan, act, verify.

``plan.make_plan`` looks at every ingredient and runs nothing; ``execute.reproduce`` carries a plan out in a workspace of its own;
``compare.compare_runs`` says whether the result is the same, and where it first differs when it is not.
"""
