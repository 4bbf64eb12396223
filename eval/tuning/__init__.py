"""Tuning of controllers: one declared budget in environment steps for every method.

``podgym.envs.splits`` says which episodes a tuner may see, ``schedule`` what a budget buys, ``search`` spends
it and ``ledger`` writes down every step of it. ``run.tune`` does all of it for one controller.
"""
