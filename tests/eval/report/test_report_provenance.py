"""What ran and where numbers come from; and the paper's tables."""

import hashlib
import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podgym.eval.protocol import ControllerMethod, PolicyMethod, Protocol, read_protocol, run_protocol
from podgym.eval.protocol.definition import BoundMethod, RunsMethod
from podgym.eval.protocol.protocol_file import parse_protocol, protocol_of, shipped_protocols
from podgym.eval.report import read_run
from podgym.eval.report.paper_section import paper_blocks
from podgym.eval.report.provenance import command, cost_words, episode_table, protocol_yaml, repeat_blocks
from podgym.eval.report.what_ran import confirmed, method_blocks, options_text


@pytest.mark.parametrize("name", shipped_protocols())
def test_the_declaration_on_the_page_declares_the_same(name):
    protocol = read_protocol(name)
    assert parse_protocol(protocol_yaml(protocol), "page") == protocol
    assert protocol_of(json.loads(json.dumps(protocol.as_dict())), "results") == protocol


@settings(max_examples=20)
@given(
    st.dictionaries(
        st.text("abc_", min_size=1), st.floats(1e-9, 1e9) | st.integers() | st.text(), max_size=3
    ),
    st.text(min_size=1).filter(lambda text: text.isprintable() and text == " ".join(text.split())),
)
def test_declarations_with_odd_values(options, label):
    methods = (
        ControllerMethod("hpa", options, label=label),
        ControllerMethod("hpa", vary={"cpu_target_percent": [30, 40.5]}),
        PolicyMethod("x.policy", optional=True),
        RunsMethod("runs", trained_on="each", label="two"),
        BoundMethod("lower_bound", quotas=True, episodes=1),
    )
    protocol = Protocol(label, ("podgym/Burst-v0",), 160_000, 2, methods, part="dev", time_limit_s=1e-5)
    assert parse_protocol(protocol_yaml(protocol), "page") == protocol


def test_commands(rich_folder, tiny_folder):
    assert command(read_run(tiny_folder)).splitlines()[1:] == [
        "podgym evaluate --protocol tiny.yml --output results/tiny",
        "podgym report results/tiny",
    ]
    assert "declaration below" in command(read_run(rich_folder))


def test_episodes_and_files(tiny_folder):
    run = read_run(tiny_folder)
    table = episode_table(run)
    cells = [cell.text for cell in table.rows[0]]
    assert cells == ["FamilyBurst-v0", "4", "160000 to 160003", "15", "15", "250", "family:burst, part dev"]
    files = repeat_blocks(run)[-1]
    expected = hashlib.sha256((tiny_folder / "results.csv").read_bytes()).hexdigest()
    assert ("results.csv", expected) in {(row[0].text, row[1].text) for row in files.rows}


def test_units_confirm_what_ran_until_one_is_gone(tiny_folder, tmp_path):
    assert confirmed(read_run(tiny_folder))
    shutil.copytree(tiny_folder, tmp_path / "run")
    next((tmp_path / "run" / "units").iterdir()).unlink()
    assert not confirmed(read_run(tmp_path / "run"))


def test_methods_with_their_options(tiny_folder, rich_folder):
    tables = [block.blocks[0] for block in method_blocks(read_run(tiny_folder))[1:]]
    assert [table.caption for table in tables] == [
        "Controllers and their options",
        "Forecasters of the controllers",
    ]
    rows = {row[0].text: [cell.text for cell in row] for row in tables[0].rows}
    assert rows["too many"][2:4] == ["static", "replicas=5000"]
    assert rows["planner"][4] == "oracle"
    rich = [block.blocks[0] for block in method_blocks(read_run(rich_folder))[1:]]
    assert [table.caption for table in rich] == [
        "Controllers and their options",
        "Learned policies",
        "Bounds",
    ]
    assert len(rich[1].rows) == 10  # every training seed of either environment


def test_tuned_options_come_with_their_search(make_run):
    made = make_run(ids=("podgym/Burst-v0",)).add("rule", [0.0] * 30)
    made.add("hpa tuned", [9.0] * 30, tuned=True, options={"cpu_target_percent": 1})
    (table,) = [
        block.blocks[0] for block in method_blocks(read_run(made.write()))[1:] if "Searches" in block.summary
    ]
    (row,) = table.rows
    assert row[2].text == "other options came with the package then"
    assert row[-1].text.startswith("podgym tune hpa --env podgym/Burst-v0 --budget ")


def test_long_options_are_hashed():
    text = options_text({"weights": [0.5] * 92, "few": (1, 2), "share": 0.1234567})
    assert text.startswith("weights=92 numbers (SHA-256 of their JSON ")
    assert text.endswith("few=(1, 2), share=0.123457")
    assert text != options_text({"weights": [0.25] * 92, "few": (1, 2), "share": 0.1234567})


def test_the_cost_in_words(tiny_folder):
    words = cost_words(read_run(tiny_folder))
    assert "counts 20 for a second in which every request misses its SLO" in words
    assert "0.13 for a GiB requested for a second" in words


def test_the_papers_tables(tmp_path, tiny_folder):
    protocol = Protocol(
        name="paper", ids=("podgym/Burst-v0", "podgym/LowLoad-v0"), first_seed=160_000, episodes=2,
        part="dev", resamples=200, rival="kubernetes_default",
        methods=(ControllerMethod("lstm_ga", forecaster="oracle"), ControllerMethod("kubernetes_default")),
    )  # fmt: skip
    run_protocol(protocol, tmp_path)
    words, *tables = paper_blocks(read_run(tmp_path))
    assert "first 2 episodes (seeds 160000 to 160001)" in words.text
    assert [table.caption.partition(",")[0] for table in tables] == ["Table 4", "Table 5"]
    first = [cell.text for cell in tables[0].rows[0]]
    assert first[:4] == ["response time, ms", "183.2", "279.4", "\u221234.4 %"]
    assert tables[0].rows[0][6].interval.startswith("[")
    means = {
        row["method"]: row for row in read_run(tmp_path).document["summary"] if "Burst" in row["environment"]
    }
    assert float(first[4]) == pytest.approx(1e3 * means["lstm_ga"]["response_time_mean_s"], rel=0.2)
    assert paper_blocks(read_run(tiny_folder)) == ()
