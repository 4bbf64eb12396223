"""A counter that begins again at 0, as after a restart, is not read as less load."""

import re
import shutil
import subprocess

import pytest
import yaml
from oracles.prometheus_servers import watched

from podgym.envs.kubernetes.queries import QUERIES, render

COUNTER = re.compile(r"(\w+\()?\w+_(?:total|sum|count|bucket)\{")
WINDOW_S = 30.0


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if COUNTER.search(query.promql)])
def test_p22_every_default_query_of_a_counter_takes_its_rate(name):
    functions = set(COUNTER.findall(QUERIES[name].promql))
    assert functions <= {"rate(", "timestamp("}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool on the PATH")
def test_p22_prometheus_reads_a_reset_as_load_that_goes_on(tmp_path):
    service = watched()
    series = 'http_requests_total{namespace="demo", pod="web-7d9f8b6c5d-x2k4q", code="200"}'
    promql = render(QUERIES["request_rate_rps"], service, WINDOW_S)
    # 10 requests/s; a restart in the middle of the window.
    content = {
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": series, "values": "1000+50x9 0+50x3"}],
                "promql_expr_test": [
                    {"expr": f"({promql}) {bound}", "eval_time": "60s", "exp_samples": [{"value": 1}]}
                    for bound in ("> bool 6", "< bool 11")
                ],
            }
        ]
    }
    (tmp_path / "reset.yml").write_text(yaml.safe_dump(content))
    done = subprocess.run(
        ["promtool", "test", "rules", "reset.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
