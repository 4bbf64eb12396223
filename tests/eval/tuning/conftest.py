"""A search on the synthetic problem, with a ledger in a folder of its own."""

import pytest
from oracles import tuning_problem


@pytest.fixture
def search(tmp_path):
    """Run ``oracles.tuning_problem.search``; its ledger is ``path``, by default one in a temporary folder."""

    def run(cost=tuning_problem.bowl, path=None, **options):
        return tuning_problem.search(path or tmp_path / "ledger.jsonl", cost, **options)

    return run
