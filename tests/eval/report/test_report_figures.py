"""Figures: what they are drawn with, and that what they draw is the result."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podgym.eval.report.drawing import GRID, INK, PALE, PAPER, for_file, for_page, looks, picture, shortened
from podgym.eval.report.figures import cost_figures, difference_figures, profile_figure
from podgym.eval.report.fronts import front_figures, pareto
from podgym.eval.report.numbers import decimals_for, interval, number, p_value, signed
from podgym.eval.report.run_files import read_run

NASTY = "<b>&\"'$x_1$</b>\x07"


@pytest.fixture(scope="module")
def run(rich_folder):
    return read_run(rich_folder)


@pytest.fixture(scope="module")
def own_looks(run):
    return looks([each.method for field in run.fields for each in field.scores])


def simple(name, label="label"):
    def draw(figure):
        axes = figure.subplots()
        axes.plot([0.0, 1.0], [0.123456789, -1.0], label=shortened(label))
        axes.fill_between([0.0, 1.0], [0.0, 1.0], color=PALE)
        axes.legend()

    return picture(name, 200.0, 120.0, draw)


def test_methods_keep_their_looks():
    many = [f"method {number}" for number in range(28)]
    found = looks(many, ["a bound"])
    assert len({(look.colour, look.marker) for look in found.values()}) == 29
    assert looks(many[:5]) == {name: found[name] for name in many[:5]}
    assert found["a bound"].colour == PALE


def test_a_picture_is_xml_with_ids_of_its_own_and_labels_as_they_are():
    text = for_file(simple("first", NASTY))
    root = ElementTree.fromstring(text)
    words = "".join(root.itertext())
    assert "<b>&\"'$x_1$</b>" in words
    assert "\x07" not in text
    assert all(each.startswith("first-") for each in re.findall(r' id="([^"]*)"', text))
    assert "metadata" not in text
    assert "<style" not in text  # its rules would hold for the page around it
    assert simple("first") == simple("first")
    assert not set(re.findall(r' id="([^"]*)"', simple("first"))) & set(
        re.findall(r' id="([^"]*)"', simple("second"))
    )


def test_colours_are_those_of_the_page_or_fixed():
    svg = simple("first")
    assert INK in svg
    for text in (for_page(svg), for_file(svg)):
        assert not any(colour in text for colour in (INK, PALE, GRID, PAPER))
    assert "var(--ink)" in for_page(svg)
    assert "xmlns" not in for_page(svg)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8))
def test_pareto_front_by_looking_at_all_pairs(points):
    violations, costs = zip(*points, strict=True)
    found = pareto(violations, costs)
    beaten = {
        (v, c) for v, c in points if any(ov <= v and oc <= c and (ov, oc) != (v, c) for ov, oc in points)
    }
    assert {points[place] for place in found} == set(points) - beaten
    assert [points[place] for place in found] == sorted({points[place] for place in found})


def test_descriptions_hold_the_numbers(run, own_looks):
    costs = cost_figures(run, own_looks)
    assert [figure.name for figure in costs] == ["cost-FamilyBurst-v0", "cost-FamilyFlash-v0"]
    row = next(row for row in run.document["summary"] if row["method"] == "hpa")
    assert (
        f"hpa {row['cost']:,.0f}, {row['cost_lower']:,.0f} to {row['cost_upper']:,.0f}"
        in costs[0].description
    )
    assert "broken failed" in costs[0].description
    assert "rule strict" not in costs[0].description
    words = difference_figures(run, own_looks)[0].description
    assert re.search(r"ppo \u2212\d\.\d, \u2212\d\.\d to \u2212\d\.\d %, lower cost", words)
    assert words.index("ppo") < words.index("hpa")  # the lowest first
    fronts = front_figures(run, own_looks)[1]
    assert "rule strict 4.50 %" in fronts.description
    assert "lower bound" not in fronts.description


def test_profiles_count_the_episodes(run, own_looks):
    figure = profile_figure(run, own_looks)
    (rule,) = [each for each in run.fields[0].scores if each.method == "hpa"]
    scale = run.fields[0].rival.cost().mean()
    other = run.fields[1]
    (second,) = [each for each in other.scores if each.method == "hpa"]
    share = np.mean([(rule.cost() <= scale).mean(), (second.cost() <= other.rival.cost().mean()).mean()])
    shown = float(re.search(r"hpa (\d+) %", figure.description)[1])
    assert shown == pytest.approx(100.0 * share, abs=4.0)  # thresholds are a grid
    assert "broken" not in figure.description


def test_numbers_as_they_are_read():
    assert number(-1234567.891, 1) == "\u22121,234,567.9"
    assert number(-0.0004, 2) == "0.00"
    assert number(float("nan"), 2) == "\u2013"
    assert signed(0.0, 1) == "0.0"
    assert signed(2.5, 1) == "+2.5"
    assert interval(1.0, float("inf"), 0) == "[1 to \u2013]"
    assert interval(float("nan"), float("nan"), 0) == ""
    assert p_value(0.00099) == "<0.001"
    assert decimals_for([12345.0, 0.0, float("nan")]) == 0
    assert decimals_for([0.0123, 5.0]) == 4
    assert decimals_for([]) == 0
