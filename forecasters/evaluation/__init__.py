"""Which forecaster helps: judged on what it has not seen, against the best naive one, with doubt stated.

In reading order: ``rolling`` (forecasts from every origin of a part), ``measures`` (how good they are),
``comparison`` (of all models, with ``significance`` behind it), ``noise_floor`` (how low an error can get),
``tables``, ``findings``, ``files`` and ``plots`` (for people and programs).
"""
