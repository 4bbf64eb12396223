"""The page: its numbers are those of the summary, its text is harmless, it needs nothing but itself."""

import math
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from podgym.envs.env import AutoscaleEnv
from podgym.errors import InputError
from podgym.eval.protocol.entrants import protocol_config
from podgym.eval.report import Drawn, markdown, page, read_run, report_of, write_report
from podgym.eval.report.markdown import figures_of

NASTY = "<script>alert('&')</script>\" onclick=\"x | $x$ ` [a](b)"
COSTS = ": cost of an episode, mean with interval, the lowest first"
PARTS = ": what the cost is made of"
VARIANTS = ": variants, the points of the fronts"
SPREAD = ": interquartile mean of the cost, and standard deviations"
MEASURES = {
    "requests that miss the SLO, %": ("slo_violation_ratio", 100.0),
    "violated, mean over time, %": ("slo_violation_time_ratio", 100.0),
    "core-hours": ("core_hours", 1.0),
    "GiB-hours": ("gib_hours", 1.0),
    "churn, pods": ("churn", 1.0),
    "scaling events": ("scaling_events", 1.0),
    "response, mean, ms": ("response_time_mean_s", 1e3),
    "response, 95th percentile, ms": ("response_time_p95_s", 1e3),
}


@pytest.fixture(scope="module")
def rich_run(rich_folder):
    return read_run(rich_folder)


@pytest.fixture(scope="module")
def rich_report(rich_run):
    return report_of(rich_run, Drawn(episodes=False))


@pytest.fixture(scope="module")
def rich_html(rich_report):
    return page(rich_report)


def agrees(cell, row, name, factor):
    """Whether a cell shows the number of a column and its interval, to its last digit."""
    decimals = len(cell.text.partition(".")[2])
    tolerance = 0.5 * 10.0**-decimals * (1.0 + 1e-9)
    ends = [factor * row[f"{name}_{end}"] for end in ("lower", "upper")]
    assert cell.value == pytest.approx(factor * row[name], abs=tolerance)
    if all(map(math.isfinite, ends)):
        assert cell.ends == pytest.approx(tuple(ends), abs=tolerance)
    return True


def short(row):
    return row["environment"].rpartition("/")[2]


def label(row, run):
    """The method as the first column of the table of costs has it."""
    marks = {"rule": "\u00b9\u00b2"}.get(row["method"], "")
    return row["method"] + marks + (" (first 4)" if row["episodes"] == 4 else "")


def test_every_number_of_the_summary_is_on_the_page(rich_run, rich_html, read_page):
    found = read_page(rich_html)
    seen = 0
    for row in rich_run.document["summary"]:
        name = short(row)
        if row["failure"]:
            cells = found.table(name + COSTS).row(row["method"])
            assert cells["cost"].text == "failed"
            assert cells["said of the cost"].text == row["failure"]
            continue
        parts = found.table(name + (VARIANTS if row["variant_of"] else PARTS))
        if row["variant_of"]:
            assert agrees(parts.row(row["method"])["cost"], row, "cost", 1.0)
        else:
            cells = found.table(name + COSTS).row(label(row, rich_run))
            assert agrees(cells["cost"], row, "cost", 1.0)
            for heading, column, factor in (
                ("regret", "regret", 1.0),
                ("gap closed, %", "gap_closed", 100.0),
                ("with replicas alone, %", "replicas_gap_closed", 100.0),
            ):
                assert not math.isfinite(row[column]) or agrees(cells[heading], row, column, factor)
        if row["kind"] != "lower_bound":
            for heading, (column, factor) in MEASURES.items():
                assert agrees(parts.row(row["method"])[heading], row, column, factor)
        spread = found.table(name + SPREAD).row(row["method"])
        assert agrees(spread["interquartile mean"], row, "cost_iqm", 1.0)
        assert spread["deviation between episodes"].value == pytest.approx(
            row["cost_between_episodes"], abs=0.5
        )
        seen += 1
    assert seen == 14
    methods = [row[0].text for row in found.table("FamilyBurst-v0" + COSTS).rows[1:]]
    assert methods == ["lower bound, quotas (first 4)", "ppo", "rule\u00b9\u00b2", "hpa", NASTY, "broken"]


def test_every_comparison_is_on_the_page(rich_run, rich_html, read_page):
    found = read_page(rich_html)
    captions = {
        "rival": "Every method against the rival of its environment",
        "every": "Every learned method against every controller",
        "hindsight": "Every method against the best controller in hindsight",
    }
    for row in rich_run.document["comparisons"]:
        cells = found.table(captions[row["table"]]).row(row["method"], short(row), row["against"])
        assert agrees(cells["difference of cost"], row, "difference", 1.0)
        assert agrees(cells["difference, %"], row, "relative_difference", 100.0)
        assert cells["said of the cost"].text == row["verdict"]
        shown = 0.0005 if cells["p (Holm)"].text == "<0.001" else cells["p (Holm)"].value
        assert shown == pytest.approx(row["p_value_holm"], abs=0.0005)
        if row["table"] == "rival":
            equal = found.table("Cost at equal SLO violation, against the rival")
            own = equal.row(row["method"], short(row), row["against"])
            if math.isfinite(row["equal_violation_difference_lower"]):
                assert agrees(own["difference of cost"], row, "equal_violation_difference", 1.0)
            assert own["where"].text == row["equal_violation_note"]
    for row in rich_run.document["overall"]:
        cells = found.table("Means over the environments, each counted alike").row(row["method"])
        assert agrees(cells["against the rivals, %"], row, "relative_difference", 100.0)


def test_nothing_from_a_file_can_run(rich_html, read_page):
    found = read_page(rich_html)
    assert "script" not in found.tags
    assert "<script" not in rich_html
    assert rich_html.count("&lt;script&gt;") > 20  # in tables, figures, remarks, options
    assert NASTY in "".join(found.text)
    assert "\u00a0%" in rich_html


def test_the_page_needs_nothing_but_itself(rich_html, read_page):
    found = read_page(rich_html)
    assert found.loads == []
    assert {"link", "iframe", "object", "embed", "img", "use"} & set(found.tags) <= {"use"}
    assert all(link.startswith("#") for link in found.links)
    assert not re.search(r"@import|url\((?!#)", rich_html)
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", rich_html)


def test_ids_are_unique_and_links_lead_somewhere(rich_html, read_page):
    found = read_page(rich_html)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", rich_html)) <= set(found.ids)
    sections = ("results", "comparisons", "profiles", "fronts", "methods", "repeat", "constants")
    assert [link[1:] for link in found.links if link[1:] in sections] == list(sections)


def test_the_page_can_be_read_without_seeing_it(rich_html, read_page):
    found = read_page(rich_html)
    assert found.tags.count("caption") == found.tags.count("table") > 10
    assert len(re.findall(r'role="img" aria-label="[^"]{40,}"', rich_html)) == found.tags.count("figure") > 5
    assert rich_html.count('<th scope="col"') + rich_html.count('<th scope="row"') == found.tags.count("th")
    assert '<html lang="en">' in rich_html
    assert "prefers-color-scheme: dark" in rich_html
    assert "@media print" in rich_html
    assert 'name="viewport"' in rich_html


def test_nobody_is_in_bold_for_having_won(rich_html, read_page):
    assert not {"b", "strong", "mark", "em"} & set(read_page(rich_html).tags)


def test_every_constant_is_there_with_its_source(rich_run, rich_html, read_page):
    rows = read_page(rich_html).table("Constants of all environments").rows[1:]
    config = protocol_config(rich_run.protocol, rich_run.fields[0].environment)
    expected = {
        (each.name.removeprefix("cluster."), each.unit, "yes" if each.measured else "no", each.source)
        for each in AutoscaleEnv(config).provenance()
    }
    found = {(row[0].text, row[2].text, row[3].text, row[4].text) for row in rows}
    assert found == expected


def test_the_same_run_gives_the_same_page(rich_run, rich_html):
    assert page(report_of(rich_run, Drawn(episodes=False))) == rich_html


def test_markdown_says_the_same(rich_report, rich_run):
    text = markdown(rich_report)
    outside = re.sub(r"(?ms)^(`{3,})$.*?^\1$", "", text)
    assert "<script" not in outside
    assert "](b)" not in outside
    assert outside.count("&lt;script&gt;") > 20
    assert "## Verdict" in text
    for section in rich_report.sections:
        assert f"\n## {section.title}\n" in text
    for figure in figures_of(rich_report):
        assert f"](report_files/{figure.name}.svg)" in text
    row = next(row for row in rich_run.document["summary"] if row["method"] == "ppo")
    assert f"{row['cost']:,.0f} [{row['cost_lower']:,.0f} to {row['cost_upper']:,.0f}]" in text
    lines = [*text.splitlines(), ""]
    heads = [place for place, line in enumerate(lines) if re.fullmatch(r"\|(?:---:?\|)+", line)]
    assert len(heads) > 10
    for place in heads:
        width = len(re.findall(r"(?<!\\)\|", lines[place]))
        end = next(at for at in range(place, len(lines)) if not lines[at])
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[place - 1 : end]} == {width}


def test_files_and_figures(rich_folder, tmp_path):
    written = write_report(rich_folder, tmp_path / "page", Drawn(episodes=False))
    assert [path.name for path in written.paths] == ["report.html", "report.md"]
    files = sorted((tmp_path / "page" / "report_files").iterdir())
    assert len(files) == written.num_figures == 7
    for file in files:
        root = ElementTree.fromstring(file.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(--" not in file.read_text(encoding="utf-8")
    assert not any(path.name.startswith(".unfinished") for path in (tmp_path / "page").rglob("*"))


def test_figures_of_an_earlier_report_go_and_files_of_others_stay(tiny_folder, rich_folder, tmp_path):
    """Every figure of the report before, which had other sections, and nothing that another name has."""
    before = write_report(rich_folder, tmp_path, Drawn(episodes=False))
    place = tmp_path / "report_files"
    named = {path.name for path in place.iterdir()}
    foreign = {"mine.svg", "cost-of-mine.svg", "cost-FamilyFlash-v0.png", "profiles.svg.bak"}
    for name in foreign:
        (place / name).write_text("mine")
    (place / "front-Trace-v0.svg").mkdir()
    written = write_report(tiny_folder, tmp_path)
    text = written.paths[1].read_text(encoding="utf-8")
    own = set(re.findall(r"\]\(report_files/(.+?\.svg)\)", text))
    assert "episode-FamilyBurst-v0.svg" in own
    assert {path.name for path in place.iterdir()} == own | foreign | {"front-Trace-v0.svg"}
    assert len(named) == before.num_figures
    assert {f"{kind}-FamilyFlash-v0.svg" for kind in ("cost", "difference", "front")} <= named - own
    again = write_report(tiny_folder, tmp_path, Drawn(episodes=False))
    assert "episode-FamilyBurst-v0.svg" not in {path.name for path in place.iterdir()}
    assert again.num_figures == written.num_figures - 1


@pytest.mark.parametrize("allowed", [0, 3, 8])
def test_a_disk_that_fills_up_leaves_whole_files_only(rich_folder, tmp_path, monkeypatch, allowed):
    """Figures are written first, so whoever reads a page has all of its figures."""
    write_report(rich_folder, tmp_path, Drawn(episodes=False))
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "report_files" / "episode-Burst-v0.svg").write_text("of an earlier report")
    calls, replace = [], os.replace

    def filling_up(source, target):
        calls.append(target)
        if len(calls) > allowed:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", filling_up)
        with pytest.raises(InputError, match=r"cannot be written: No space left on device\."):
            write_report(rich_folder, tmp_path, Drawn(episodes=False))
    assert len(calls) == allowed + 1
    assert (tmp_path / "report_files" / "episode-Burst-v0.svg").read_text() == "of an earlier report"
    (tmp_path / "report_files" / "episode-Burst-v0.svg").unlink()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == whole


def test_an_old_figure_that_cannot_be_removed_is_named(rich_folder, tmp_path, monkeypatch):
    old = tmp_path / "report_files" / "episode-Burst-v0.svg"
    old.parent.mkdir()
    old.write_text("of an earlier report")

    def read_only(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("podgym.eval.report.write.Path.unlink", read_only)
    with pytest.raises(InputError, match=r"episode-Burst-v0.svg cannot be removed: Read-only file system\."):
        write_report(rich_folder, tmp_path, Drawn(episodes=False))


def test_a_run_of_two_rules_is_a_whole_page_too(make_run, read_page):
    folder = (
        make_run(ids=("podgym/FamilyBurst-v0",), rival="dev")
        .add("a", [0.0] * 30)
        .add("b", [5.0] * 30)
        .write()
    )
    report = report_of(read_run(folder), Drawn(episodes=False))
    found = read_page(page(report))
    headings = found.table("FamilyBurst-v0" + COSTS).headings
    assert headings == ["method", "episodes", "cost"]  # nothing to say of rivals, regret and gaps
    text = "".join(found.text)
    assert "the controller with the lowest mean is a" in text
    assert "no front to compare two" in text
    assert "gap" not in text.partition("Results by environment")[0]


def test_a_single_method_that_failed_is_a_page(make_run, read_page):
    folder = make_run(ids=("podgym/FamilyBurst-v0",), rival="dev").add("a", [0.0] * 30, failure="why").write()
    text = "".join(read_page(page(report_of(read_run(folder)))).text)
    assert "On FamilyBurst-v0 no controller has results." in text
    assert "There is nothing to compare" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_chromium_opens_it(rich_html, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(rich_html, encoding="utf-8")
    argv = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.count("<svg") == rich_html.count("<svg")
    assert "CONSOLE" not in done.stderr  # what a page logs, errors included
