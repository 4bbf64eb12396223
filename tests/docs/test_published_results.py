"""The tables of published results say what the committed files of results say."""

import csv
import re
from pathlib import Path

import pytest

from podgym.baselines.tuned import parse_tuned

pytestmark = pytest.mark.source_tree

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
RIVAL = "rule tuned"


def rows_of(protocol, file):
    with open(RESULTS / protocol / file, newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def percent(value):
    return f"{100 * float(value):.1f}".replace("-", "\N{MINUS SIGN}")


def p_value(text):
    return "< 0.01" if float(text) < 0.01 else f"{float(text):.2f}"


def table_lines():
    """Return the lines of the table of docs/agents.md, from the files."""
    lines = []
    for protocol in ("families", "traces"):
        summary = {(row["environment"], row["method"]): row for row in rows_of(protocol, "summary.csv")}
        for row in rows_of(protocol, "comparisons.csv"):
            if (row["table"], row["method"], row["against"]) != ("rival", "ppo", RIVAL):
                continue
            own, rival = (summary[row["environment"], name] for name in ("ppo", RIVAL))
            equal = float(row["equal_violation_difference"]) / float(rival["cost"])
            cells = [
                f"`{row['environment'].removeprefix('podgym/').removesuffix('-v0')}`",
                *(
                    f"{float(each['cost']):,.0f} ({percent(each['slo_violation_time_ratio'])})"
                    for each in (own, rival)
                ),
                f"{percent(row['relative_difference'])} [{percent(row['relative_difference_lower'])}, "
                f"{percent(row['relative_difference_upper'])}]",
                p_value(row["p_value_holm"]),
                percent(equal),
                p_value(row["equal_violation_p_value_holm"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def test_the_table_of_the_agents():
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    lines = table_lines()
    assert len(lines) == 6
    for line in lines:
        assert line in page, line


def test_the_sentence_of_the_readme():
    rows = [row for protocol in ("families", "traces") for row in rows_of(protocol, "comparisons.csv")]
    against = [
        row for row in rows if (row["table"], row["method"], row["against"]) == ("rival", "ppo", RIVAL)
    ]
    lower = [row for row in against if float(row["p_value_holm"]) < 0.05]
    gains = sorted(-100 * float(row["relative_difference"]) for row in lower)
    places = {row["environment"] for row in lower}
    assert "podgym/Trace-v0" in places
    assert gains[0] > 0.0
    equal = {row["environment"] for row in against if float(row["equal_violation_p_value_holm"]) < 0.05}
    assert equal == places
    words = ("no", "one", "two", "three", "four", "five")[len(places) - 1]
    page = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"costs {gains[0]:.1f} to {gains[-1]:.1f} % less than the best" in page
    assert f"on {words} of five generated families" in page


def test_the_readme_counts_what_took_part():
    page = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    summary = rows_of("families", "summary.csv")
    tuned = {row["method"] for row in summary if row["kind"] == "controller" and row["variant_of"] == ""}
    assert len([method for method in tuned if method.endswith(" tuned")]) == 11
    assert "the best of eleven tuned controllers" in page
    assert "500 paired test episodes of each, five training seeds" in page
    assert "the best of five searches of four million steps each" in page
    entries = parse_tuned((ROOT / "baselines" / "tuned.json").read_text(encoding="utf-8"))
    scenarios = {row["environment"] for name in ("families", "paper") for row in rows_of(name, "summary.csv")}
    for environment in scenarios:
        ledger = entries["rule", environment].ledger
        assert (ledger["budget_steps"], len(ledger["all_searches"])) == (4_000_000, 5)


def test_the_speed_of_the_readme_is_that_of_the_measurement():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    table = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for envs, words in (
        ("1024", r"([\d,]+) steps a second on one core"),
        ("make", r"([\d,]+) through\s+the scalar"),
    ):
        measured = re.search(rf"^podgym/Trace-v0 +{envs} +keep +([\d,]+)", table, re.MULTILINE)
        claimed = re.search(words, page)
        assert measured is not None
        assert claimed is not None
        speeds = [float(each[1].replace(",", "")) for each in (claimed, measured)]
        assert speeds[0] == pytest.approx(speeds[1], rel=0.01)


def test_five_training_seeds_on_five_hundred_episodes():
    for protocol, episodes in (("families", "500"), ("traces", "500"), ("paper", "100")):
        for row in rows_of(protocol, "summary.csv"):
            if row["method"] == "ppo":
                assert (row["training_seeds"], row["episodes"]) == ("5", episodes)


def test_the_gaps_of_the_agents():
    page = " ".join((ROOT / "docs" / "agents.md").read_text(encoding="utf-8").split())
    overall = {
        protocol: {row["method"]: row for row in rows_of(protocol, "overall.csv")}["ppo"]
        for protocol in ("families", "traces")
    }
    own, other = (percent(overall[name]["gap_closed"]) for name in ("families", "traces"))
    assert f"PPO closes {own} %** on the families on average and {other} % on the trace" in page
    texts = []
    for row in overall.values():
        ends = [f"{100 * float(row[f'replicas_gap_closed{end}']):.0f}" for end in ("", "_lower", "_upper")]
        texts.append(f"{ends[0]} % [{ends[1]}, {ends[2]}]")
    assert f"PPO closes {texts[0]} on the families and {texts[1]} on the trace" in page
    rows = [row for protocol in overall for row in rows_of(protocol, "summary.csv")]
    shares = sorted(float(row["replicas_gap_closed"]) for row in rows if row["method"] == "clairvoyant")
    assert f"closes {100 * shares[0]:.0f} to {100 * shares[-1]:.0f} % of it" in page


def test_the_generalist_of_the_agents():
    page = " ".join((ROOT / "docs" / "agents.md").read_text(encoding="utf-8").split())
    found = {
        row["environment"]: row
        for row in rows_of("families", "comparisons.csv")
        if (row["table"], row["method"], row["against"]) == ("rival", "generalist", RIVAL)
    }
    words = {"Constant": "constant", "Diurnal": "diurnal", "Flash": "flash loads"}
    texts = {name: f"{percent(found[f'podgym/Family{name}-v0']['relative_difference'])} %" for name in words}
    said = (
        f"cheaper on constant ({texts['Constant']}), diurnal ({texts['Diurnal']}) and flash loads "
        f"({texts['Flash']})"
    )
    assert said in page
    for name in words:
        assert float(found[f"podgym/Family{name}-v0"]["p_value_holm"]) < 0.01
    for name in ("Variable", "Burst"):
        row = found[f"podgym/Family{name}-v0"]
        assert float(row["relative_difference"]) < 0.0 < 0.05 < float(row["p_value_holm"])
        assert f"({percent(row['relative_difference'])} %, p = {p_value(row['p_value_holm'])})" in page


def test_ppo_against_the_rule_on_the_paper_s_scenarios():
    page = " ".join((ROOT / "docs" / "agents.md").read_text(encoding="utf-8").split())
    gains = {}
    for row in rows_of("paper", "comparisons.csv"):
        if (row["table"], row["method"], row["against"]) == ("rival", "ppo", RIVAL):
            assert float(row["p_value_holm"]) < 0.01
            gains[row["environment"]] = f"{-100 * float(row['relative_difference']):.1f} %"
    high, burst, low = (gains[f"podgym/{name}-v0"] for name in ("HighLoad", "Burst", "LowLoad"))
    assert f"{high} less on the higher load, {burst} on the burst and {low} on the lower load" in page


def ablation_lines():
    """Return the lines of the table of variants, from the files: cost, and difference to ``prior``."""
    summary = {(row["environment"], row["method"]): row for row in rows_of("ablation", "summary.csv")}
    against = {
        (row["environment"], row["method"]): row
        for row in rows_of("ablation", "comparisons.csv")
        if (row["table"], row["against"]) == ("rival", "prior")
    }
    lines = []
    for method in dict.fromkeys(method for _, method in summary):
        cells = []
        for name in ("FamilyBurst", "Trace"):
            key = (f"podgym/{name}-v0", method)
            cost = f"{float(summary[key]['cost']):,.0f}" if key in summary else ""
            row = against.get(key)
            ends = (
                [percent(row[f"relative_difference{end}"]) for end in ("", "_lower", "_upper")] if row else []
            )
            cells += [cost, f"{ends[0]} [{ends[1]}, {ends[2]}]" if row else ""]
        seeds = summary["podgym/FamilyBurst-v0", method]["training_seeds"]
        lines.append(f"| {method} | {seeds} | {' | '.join(cells)} |")
    return lines


def test_the_variants_of_the_agents():
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    lines = ablation_lines()
    assert len(lines) == 16
    for line in lines:
        assert line in page, line


FAMILIES = ("Constant", "Diurnal", "Variable", "Burst", "Flash")


def shift_lines():
    """Return the lines of the matrix, from the files: what was trained on, difference to the rule of each."""
    found = {
        (row["method"], row["environment"]): row
        for row in rows_of("shift", "comparisons.csv")
        if (row["table"], row["against"]) == ("rival", RIVAL)
    }
    trained = {f"`Family{name}`": f"ppo of Family{name}-v0" for name in FAMILIES}
    trained |= {"all five": "generalist", "`hpa`, tuned for each": "hpa tuned"}
    return [
        f"| {name} | "
        + " | ".join(
            percent(found[method, f"podgym/Family{each}-v0"]["relative_difference"]) for each in FAMILIES
        )
        + " |"
        for name, method in trained.items()
    ]


def test_the_matrix_of_the_agents():
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    for line in shift_lines():
        assert line in page, line


def test_the_table_of_the_paper_s_scenarios():
    page = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    rows = {(row["environment"], row["method"]): row for row in rows_of("paper", "summary.csv")}
    for name in ("HighLoad", "Burst", "LowLoad"):
        cells = [
            f"{float(row['cost']):,.0f} · {1000 * float(row['response_time_mean_s']):.0f} · "
            f"{float(row['core_hours']):.2f}"
            for row in (
                rows[f"podgym/{name}-v0", method] for method in ("ppo", RIVAL, "lstm_ga tuned", "lstm_ga")
            )
        ]
        assert f"| `{name}` | {' | '.join(cells)} |" in page


def test_the_paper_s_scenarios_in_the_readme():
    page = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    rows = {(row["environment"], row["method"]): row for row in rows_of("paper", "summary.csv")}
    names = sorted({environment for environment, _ in rows})

    def less(measure, other):
        """From the least to the most that PPO needs less than another, percent."""
        shares = (float(rows[name, "ppo"][measure]) / float(rows[name, other][measure]) for name in names)
        found = sorted(100 * (1 - share) for share in shares)
        return found[0], found[-1]

    faster, cheaper, cores = (
        less(measure, "lstm_ga") for measure in ("response_time_mean_s", "cost", "core_hours")
    )
    assert f"answer in {faster[0]:.0f} to {faster[1]:.0f} % less time than its LSTM+GA" in page
    assert f"cost {cheaper[0]:.0f} to {cheaper[1]:.0f} % less" in page
    assert f"with {-cores[1]:.0f} to {-cores[0]:.0f} % more core-hours" in page
    rule = less("cost", RIVAL)
    assert f"than that rule they cost {rule[0]:.1f} to {rule[1]:.1f} % less" in page


def test_nothing_of_a_machine_stands_in_the_files():
    for path in RESULTS.rglob("*.*"):
        text = path.read_text(encoding="utf-8")
        for word in ("/home/", "/root/", "/tmp/"):
            assert word not in text, path
