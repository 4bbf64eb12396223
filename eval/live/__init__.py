"""Evaluation on a real cluster: episodes run by the clock, are written down, and the simulator runs beside.

``environment`` says what is needed of the cluster; ``run`` runs controllers and policies one after another,
with the load and the logs of ``companions``, and leaves a ``result``; ``watch`` and ``recording`` write down
what happened; ``simulated`` runs the simulator on the recorded load and ``agreement`` says how far it was
off; ``tables`` shows that.
``report`` writes the page of a folder of such episodes.
"""
