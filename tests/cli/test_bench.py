import json

import pytest

from podgym.cli import main

TINY = ("bench", "--env", "podgym/LowLoad-v0", "--num-envs", "2", "--seconds", "0.001", "--repeats", "2",
        "--memory-envs", "2")  # fmt: skip


def test_json_has_every_number(capsys):
    assert main([*TINY, "--scaling", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"date", "machine", "settings", "speed", "memory", "scaling"}
    assert content["settings"] == {"num_envs": 2, "seconds": 0.001, "repeats": 2}
    assert content["machine"]["cpu"]
    rows = content["speed"]
    assert [row["environment"] for row in rows if row["times_cartpole"] == 1.0] == ["CartPole-v1"] * 2
    assert {(row["environment"], row["num_envs"], row["actions"]) for row in rows} >= {
        ("CartPole-v1", 2, "random"), ("podgym/LowLoad-v0", 2, "keep"), ("podgym/LowLoad-v0", None, "random"),
    }  # fmt: skip
    for row in rows:
        assert row["times_cartpole"] > 0.0
        assert row["spread"] >= 0.0
        assert len(row["rounds"]) == 2
        assert all(each["cpu_s"] > 0.0 and each["wall_s"] > 0.0 for each in row["rounds"])
    (memory,) = content["memory"]
    assert memory["environment"] == "podgym/LowLoad-v0"
    assert 0 <= memory["batch_bytes"] <= memory["growth_bytes"] < memory["resident_bytes"]
    assert {each["variable"] for each in content["scaling"]} == {"services", "pods", "ticks"}


def test_tables_for_people(capsys):
    assert main([*TINY]) == 0
    written = capsys.readouterr()
    lines = written.out.splitlines()
    assert written.err == ""  # progress is for terminals
    assert "Python" in lines[1]
    header = next(line for line in lines if line.startswith("environment"))
    assert "steps/s" in header
    assert "x CartPole" in header
    assert sum(line.startswith("podgym/LowLoad-v0") for line in lines) == 4 + 4 + 1  # batch, single, memory
    memory = lines.index(next(line for line in lines if line.startswith("memory")))
    assert lines[memory + 1].startswith("podgym/LowLoad-v0")
    assert not any(line.startswith(("services", "pods", "ticks")) for line in lines)


def test_scaling_has_a_table_per_variable(capsys):
    from podgym.cli.bench import scaling_table
    from podgym.eval.bench_scaling import Series

    text = scaling_table([Series("steady", "pods", (4, 8, 16), (140.0, 180.0, 260.0))])
    heading, row, _ = text.splitlines()
    assert heading.split() == ["pods", "4", "8", "16", "fit", "off", "by"]
    assert row.split() == ["steady", "140", "180", "260", "100", "+", "10", "n", "0", "%"]


@pytest.mark.parametrize(("option", "value", "expected"), [
    ("--env", "podgym/LowLoad-v9", "Did you mean 'podgym/LowLoad-v0'?"),
    ("--num-envs", "0", "--num-envs is 0"),
    ("--seconds", "nan", "--seconds is nan"),
    ("--repeats", "0", "--repeats is 0"),
    ("--memory-envs", "-1", "--memory-envs is -1"),
    ("--num-envs", "many", "invalid int value"),
])  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_measured(option, value, expected, capsys):
    assert main(["bench", option, value]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert len(written.err.splitlines()) == 1
    assert expected in written.err
