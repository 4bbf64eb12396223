"""The report of live episodes: its numbers are those recorded, it claims nothing, it needs nothing else."""

import json
import math
import re
import shutil

import numpy as np
import pytest
from oracles.pages import read_page
from oracles.simulated_live import Opener, live_settings

from podgym.envs.kubernetes.guard import REASONS
from podgym.errors import InputError
from podgym.eval.contenders import Contender
from podgym.eval.episode import read_episode
from podgym.eval.live.agreement import MetricsView, agreement
from podgym.eval.live.plan import LivePlan
from podgym.eval.live.report import live_report, write_live_report
from podgym.eval.live.report_figures import asked_and_held, episode_figure
from podgym.eval.live.report_files import is_live, read_live
from podgym.eval.live.report_verdict import verdict
from podgym.eval.live.run import LiveRun
from podgym.eval.live.tables import all_agreements, live_document, live_groups
from podgym.eval.measures import measure
from podgym.eval.report import markdown, page
from podgym.eval.report.drawing import looks
from podgym.eval.report.markdown import figures_of
from podgym.eval.report.write import write_pages
from podgym.eval.summary import result_document, summarise
from podgym.files import write_json

NASTY = "hpa <b>|&"
METHODS = (Contender(NASTY, "hpa", {"cpu_target_percent": 60}), Contender("cluster", "cluster"))
STEPS = 20
MISMATCH = {"cluster": {"services": {"web": {"parameters": {"start_up_s": 50.0}}}}}
MEASURED = "Measures of the episodes"
PREDICTED = "Predicted by the simulator against observed on the cluster"


def evaluate(folder, opener, *, episodes=1, finish=True):
    """Run as the command line does, without its tables and files."""
    plan = LivePlan(
        "cluster x", live_settings(), METHODS, folder, episode_s=STEPS * 15.0, pause_s=0.0, seed=4,
        episodes=episodes,
    )  # fmt: skip
    result = LiveRun(plan, open_environment=opener, sleep=pytest.fail).run()
    if finish:
        groups = live_groups(result, METHODS)
        config = result.episodes[0].recording.config
        document = result_document(
            [summarise(each) for each in groups], [each[0] for each in groups], {plan.environment: config}
        )
        document["live"] = live_document(result, all_agreements(result, METHODS))
        write_json(folder / "results.json", document)
    return folder


def hold(folder, interval, asked, done):
    """Rewrite a decision as one that the guard changed."""
    path = folder / "decisions.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    entries[interval - 1]["carried_out"][0] |= {
        "replicas_asked": asked, "replicas_set": done, "reasons": ["up_rate", "mystery"],
    }  # fmt: skip
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """One episode each, in a world that is slower than the simulator believes."""
    folder = evaluate(tmp_path_factory.mktemp("one"), Opener(truth=MISMATCH))
    hold(folder / "hpa-b-seed4", 3, 40.0, 9)
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two episodes each, of an evaluation that did not come to its end."""
    return evaluate(tmp_path_factory.mktemp("two"), Opener(foreign=[9, 7]), episodes=2, finish=False)


@pytest.fixture
def mine(one, tmp_path):
    """A copy to be spoilt."""
    return shutil.copytree(one, tmp_path / "copy")


@pytest.fixture(scope="module")
def report(one):
    return live_report(read_live(one))


@pytest.fixture(scope="module")
def text(report):
    return page(report)


def shown(value, decimals):
    return "\u2013" if not math.isfinite(value) else f"{value:,.{decimals}f}".replace("-", "\u2212")


def test_every_measure_is_that_of_the_recorded_episode(one, text):
    table = read_page(text).table(MEASURED)
    cells = table.row(NASTY, "observed")
    found = measure(read_episode(one / "hpa-b-seed4" / "live.parquet"))
    assert cells["SLO violations, %"].text == shown(100.0 * found["slo_violation_ratio"], 2)
    assert cells["response p95, ms"].text == shown(1e3 * found["response_time_p95_s"], 0)
    assert cells["core-hours"].text == shown(found["core_hours"], 1)
    assert cells["SLO violations, %"].interval == ""
    replayed = measure(read_episode(one / "hpa-b-seed4" / "replayed.parquet"))
    other = table.row(NASTY, "simulator, replayed")["response p95, ms"].text
    assert other == shown(1e3 * replayed["response_time_p95_s"], 0) != cells["response p95, ms"].text
    rows = [[cell.text for cell in row[:2]] for row in table.rows[1:]]
    assert rows == [
        [NASTY, "observed"], [NASTY, "simulator, replayed"], [NASTY, "simulator, by itself"],
        ["cluster", "observed"], ["cluster", "simulator, replayed"],
    ]  # fmt: skip


def test_errors_of_the_prediction_are_those_of_the_records(one, text):
    table = read_page(text).table(PREDICTED)
    assert len(table.rows) == 1 + 3 * 3
    folder = one / "hpa-b-seed4"
    pair = (read_episode(folder / "live.parquet"), read_episode(folder / "simulated.parquet"))
    told = json.loads((folder / "run.json").read_text())["monitoring"]
    assert told["window_s"] == 60.0
    _, response, _ = agreement([pair], [MetricsView(**told)])
    (row,) = [
        [cell.text for cell in cells]
        for cells in table.rows
        if [cells[0].text, cells[1].text, cells[3].text]
        == [NASTY, "deciding by itself", "response time, mean, ms"]
    ]
    assert row[4:7] == [
        shown(1e3 * response.observed, 1), shown(1e3 * response.predicted, 1), shown(1e3 * response.bias, 1)
    ]  # fmt: skip
    assert row[8:] == [shown(response.mean_absolute_percentage_error, 1), str(STEPS)]
    assert response.bias < 0.0


def test_the_verdict_is_honest_about_single_episodes(report, one):
    words = " ".join(report.verdict.sentences)
    assert "One episode per method carries no interval" in words
    assert not re.search(r"better|worse|wins|lower|higher|significant", words)
    live = {
        method.label: measure(read_episode(one / name / "live.parquet"))
        for method, name in zip(METHODS, ("hpa-b-seed4", "cluster-seed4"), strict=True)
    }
    points = 100.0 * (live[NASTY]["slo_violation_ratio"] - live["cluster"]["slo_violation_ratio"])
    sign = "+" if points > 0.0 else ""
    assert f"{NASTY} against cluster: {sign}{shown(points, 2)} percentage points" in words
    assert "loads were measured, not given" in words
    assert "given the recorded load and decisions, was off in an interval by" in words
    cautions = " ".join(report.verdict.cautions)
    assert (
        f"{NASTY}, seed 4: 14 of 20 intervals ended late, by 5.0 s at most; problems in 1 of 20" in cautions
    )
    assert "podgym calibrate" in cautions


def test_several_episodes_have_a_range_that_is_called_no_interval(two):
    results = read_live(two)
    report = live_report(results, 5)
    words = " ".join(report.verdict.sentences)
    assert "carries no interval" not in words
    assert "means of 2 episodes under loads that were not the same, so no interval is given" in words
    assert any("did not come to its end (no results.json)" in each for each in report.verdict.cautions)
    table = read_page(page(report)).table(MEASURED)
    cell = table.row(NASTY, "observed")["SLO violations, %"]
    values = [100.0 * measure(each.record)["slo_violation_ratio"] for each in results.of(NASTY)]
    assert cell.text == shown(np.mean(values), 2)
    assert cell.interval == f"[{shown(min(values), 2)} to {shown(max(values), 2)}]"
    assert len(figures_of(report)) == 2  # one per method
    captions = [figure.caption.partition(".")[0] for figure in figures_of(report)]
    assert captions == [f"{NASTY}, seed 5", "cluster, seed 5"]


def test_the_figure_shows_observed_solid_and_simulated_dashed(one):
    episode = read_live(one).of(NASTY)[0]
    figure = episode_figure(episode, looks([NASTY])[NASTY], 1)
    assert figure.wide
    assert "(decisions replayed and deciding by itself)" in figure.caption
    assert "the guard set other replicas than were asked for in 1." in figure.caption
    for words in (
        "mean, simulated",
        "ready, simulated",
        "used / requested, simulated",
        "SLO",
        "observed load",
    ):
        assert f">{words}<" in figure.svg
    assert figure.svg.count("stroke-dasharray") > 2 * 5  # five lines in each of two columns, and the legend
    alone = episode_figure(read_live(one).of("cluster")[0], looks(["cluster"])["cluster"], 2)
    assert "deciding by itself" not in alone.svg
    assert "decisions replayed" in alone.svg


def test_asked_and_held(one):
    held = asked_and_held(read_live(one).of(NASTY)[0])
    assert held[2] == 40.0
    assert np.isnan(np.delete(held, 2)).all()


def test_the_guard_is_counted_and_explained(text):
    table = read_page(text).table("What the guard said")
    row = table.row(NASTY, "down_window")
    assert (row["decisions"].text, row["of all, %"].text) == ("19", "95.0")
    assert row["what it means"].text == REASONS["down_window"]
    assert table.row(NASTY, "up_rate")["decisions"].text == "1"
    assert table.row(NASTY, "mystery")["what it means"].text == "not a code of this podgym"
    assert "other replicas than were asked for in 1 of 20 decisions" in text


def test_course_settings_versions_and_constants_are_there(one, text):
    found = read_page(text)
    cells = found.table("How the episodes went").row("cluster", "4")
    assert (cells["mode"].text, cells["intervals"].text, cells["API calls"].text) == (
        "shadow",
        "20 of 20",
        "40",
    )
    assert cells["late, at most, s"].text == "5.00"
    problem = found.table("Problems, by the interval in which they came").row(NASTY, "4")
    assert (problem["first"].text, problem["problem"].text) == ("2", "request_rate_rps: no data")
    assert "http://prometheus.example:9090/p" in text
    assert "token_file: /t" in text
    for secret in ("hunter2", "token=abc"):
        assert secret not in text
    document = json.loads((one / "cluster-seed4" / "run.json").read_text())
    assert found.table("Versions that ran it").row("numpy")["version"].text == document["versions"]["numpy"]
    named = {
        row[0].text for table in found.tables if table.caption.startswith("Constants") for row in table.rows
    }
    assert {each["name"].removeprefix("cluster.") for each in document["constants"]} <= named
    assert "podgym evaluate --cluster x.yml --controller" in text
    assert f"podgym calibrate {one}" in text


def test_the_page_is_harmless_and_needs_nothing_but_itself(text):
    found = read_page(text)
    assert "<b>|" not in text
    assert found.loads == []
    assert "script" not in found.tags
    assert all(link.startswith("#") for link in found.links)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert len(re.findall(r'role="img" aria-label="[^"]{40,}"', text)) == found.tags.count("figure") == 2
    assert "intervals say what is known" not in text


def test_markdown_says_the_same(report):
    text = markdown(report)
    for section in report.sections:
        assert f"\n## {section.title}\n" in text
    assert "![" in text
    assert "](report_files/live-episode-2.svg)" in text


def test_files_are_written_and_old_figures_go(one, text, tmp_path):
    old = tmp_path / "report_files" / "live-episode-9.svg"
    old.parent.mkdir()
    old.write_text("of an earlier report")
    (old.parent / "mine.svg").write_text("mine")
    before = {path: path.read_bytes() for path in one.rglob("*") if path.is_file()}
    told = []
    written = write_live_report(one, tmp_path, on_progress=lambda *each: told.append(each))
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "report.html", "report.md", "report_files/live-episode-1.svg", "report_files/live-episode-2.svg",
        "report_files/mine.svg",
    ]  # fmt: skip
    assert written.num_figures == 2
    assert told[0] == (0, 8, "Measures")
    assert {path: path.read_bytes() for path in one.rglob("*") if path.is_file()} == before
    assert written.paths[0].read_text() == text  # the same run gives the same page


def test_an_episode_that_ended_early_is_said_first(mine):
    edit(mine / "cluster-seed4" / "run.json", ended_because="demo/web: the Deployment was deleted")
    (mine / "cluster-seed5").mkdir()
    (mine / "cluster-seed5" / "decisions.jsonl").write_text("")
    cautions = verdict(read_live(mine)).cautions
    assert cautions[0] == (
        "cluster, seed 4: ended after 20 of 20 intervals: demo/web: the Deployment was deleted."
    )
    assert "cluster-seed5" in cautions[1]


def test_that_a_signal_ended_it_is_said(mine):
    path = mine / "results.json"
    document = json.loads(path.read_text())
    assert not any("stopped by" in each for each in live_report(read_live(mine), 4).verdict.cautions)
    edit(path, live=document["live"] | {"stopped": "SIGTERM"})
    said = "The evaluation was stopped by SIGTERM: methods or episodes may be missing."
    assert live_report(read_live(mine), 4).verdict.cautions[0] == said


def test_shadow_mode_is_no_result_of_the_method(mine):
    edit(mine / "hpa-b-seed4" / "run.json", mode="shadow")
    cautions = verdict(read_live(mine)).cautions
    assert cautions[0].startswith(
        f"{NASTY} decided and wrote nothing (shadow mode): its measures are those of"
    )


def test_without_the_simulator_the_rest_stands(mine):
    for path in mine.glob("*/*.parquet"):
        if path.name != "live.parquet":
            path.unlink()
    report = live_report(read_live(mine))
    text = page(report)
    assert "The simulator was not run beside any episode, so nothing was predicted." in text
    assert "The simulator, given" not in " ".join(report.verdict.sentences)
    assert "cluster, seed 4: the simulator was not run beside." in report.verdict.cautions
    assert ", simulated<" not in text


def test_simulated_episodes_are_found_where_the_tables_of_the_evaluation_lie(mine):
    folder = mine / "hpa-b-seed4"
    (folder / "replayed.parquet").rename(mine / "cluster-x-hpa-replayed-seed4.parquet")
    assert set(read_live(mine).of(NASTY)[0].simulated) == {"replayed", "simulated"}


def spoil_document(folder):
    document = json.loads((folder / "results.json").read_text())
    document["results"][0]["mean"]["core_hours"] *= 1.001
    (folder / "results.json").write_text(json.dumps(document))


SPOILT = {
    "format": (lambda folder: edit(folder / "cluster-seed4" / "run.json", format="podgym.live/9"),
               "is of format 'podgym.live/9', but this podgym reads 'podgym.live/1'"),
    "cut": (lambda folder: (folder / "cluster-seed4" / "run.json").write_text("{"), "cannot be read"),
    "intervals": (lambda folder: edit(folder / "cluster-seed4" / "run.json", intervals=19),
                  "do not belong together"),
    "no parquet": (lambda folder: (folder / "cluster-seed4" / "live.parquet").unlink(), "live.parquet"),
    "no decisions": (lambda folder: (folder / "cluster-seed4" / "decisions.jsonl").unlink(),
                     "decisions.jsonl cannot be read"),
    "gone": (lambda folder: shutil.rmtree(folder / "cluster-seed4"),
             "names the recording of cluster, seed 4, which is not here"),
    "other means": (spoil_document, "do not belong together: they differ in core_hours"),
    "not live": (lambda folder: edit(folder / "results.json", live=None), "is not of an evaluation on"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_folder_is_refused(name, mine, tmp_path):
    spoil, words = SPOILT[name]
    spoil(mine)
    assert is_live(mine)
    with pytest.raises(InputError, match=re.escape(words)):
        write_live_report(mine, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_what_is_and_what_is_no_live_folder(one, tmp_path):
    assert is_live(one)
    assert is_live(one / "cluster-seed4")
    assert not is_live(tmp_path)
    assert not is_live(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text('{"format": "podgym.training/1"}')
    assert not is_live(tmp_path)
    with pytest.raises(InputError, match="is a single episode of a live evaluation; name the folder"):
        read_live(one / "cluster-seed4")
    with pytest.raises(InputError, match="holds no recording of a real cluster"):
        read_live(tmp_path)
    with pytest.raises(InputError, match="episode seed 9 is not among those recorded: 4"):
        live_report(read_live(one), 9)


def test_a_disk_that_is_full_leaves_no_half_page(report, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    no_figures = re.compile("none")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_pages(report, tmp_path, no_figures)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
