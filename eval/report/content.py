"""What a report says, from the verdict to the last constant: the parts of the page in reading order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from podgym.errors import InputError
from podgym.eval.protocol.comparisons import TABLES
from podgym.eval.protocol.entrants import short_id
from podgym.eval.report import provenance, result_tables
from podgym.eval.report.blocks import Block, Bullets, Details, Figures, Paragraph, Section, Table
from podgym.eval.report.drawing import Look, looks
from podgym.eval.report.episode_figure import episode_figure
from podgym.eval.report.episodes import Choice, ShownEpisode, choose, repeat
from podgym.eval.report.figures import BOUNDS, cost_figures, difference_figures, profile_figure
from podgym.eval.report.fronts import front_figures, has_front
from podgym.eval.report.paper_section import paper_blocks
from podgym.eval.report.run_files import Run
from podgym.eval.report.verdict import HIGHER, LOWER, OPEN, Verdict, verdict
from podgym.eval.report.what_ran import method_blocks

OnProgress = Callable[[int, int, str], None]
"""Receives the number of parts done, of all, and what is being done."""

_MOST_OPEN_ROWS = 30  # longer tables are folded


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is drawn of single episodes."""

    episodes: bool = True
    """Whether anything is run again: episodes to be drawn, and the paper's tables."""
    methods: tuple[str, ...] = ()
    """Labels of the methods, one or two; empty: as ``choose`` says."""
    seed: int | None = None
    """Seed of the episode; None: that of the median difference."""


@dataclass(frozen=True, slots=True)
class Report:
    """A page."""

    title: str
    """Its heading."""
    lead: str
    """What was to be found out; may be empty."""
    facts: tuple[tuple[str, str], ...]
    """Names and values, in a few words."""
    verdict: Verdict
    """What came of it."""
    sections: tuple[Section, ...]
    """The rest, in reading order."""
    closing: str = "Nothing on this page is in bold for having won: the intervals say what is known."
    """What stands at the foot of the page."""


def report_of(
    run: Run, drawn: Drawn | None = None, on_progress: OnProgress = lambda done, total, note: None
) -> Report:
    """Return the report of a run.

    Args:
        run: from ``read_run``.
        drawn: what is drawn of single episodes; None: the default.
        on_progress: told what is being done.

    Raises:
        InputError: methods or an episode to be drawn that no environment has.
    """
    choices = _choices(run, drawn or Drawn())
    own_looks = looks(_in_order(run), [each.method for each in run.entrants if each.kind in BOUNDS])
    parts: tuple[tuple[str, str, Callable[[], Iterable[Block]]], ...] = (
        ("results", "Results by environment", lambda: _results(run, own_looks)),
        ("comparisons", "Comparisons", lambda: _comparisons(run, own_looks)),
        ("profiles", "Performance profiles", lambda: _profiles(run, own_looks)),
        ("fronts", "Cost against SLO violation", lambda: _fronts(run, own_looks)),
        ("episodes", "Single episodes", lambda: _episodes(run, choices, own_looks)),
        ("paper", "The paper's tables", lambda: _paper(run, drawn or Drawn())),
        ("methods", "What took part", lambda: method_blocks(run)),
        ("repeat", "Episodes, versions and commands", lambda: _repeat(run)),
        ("constants", "Constants of the simulation", lambda: provenance.constant_blocks(run)),
    )
    sections = []
    for place, (name, title, make) in enumerate(parts):
        on_progress(place, len(parts), title)
        blocks = tuple(make())
        if blocks:
            sections.append(Section(name, title, blocks))
    return Report(
        f"Protocol {run.protocol.name}", run.protocol.description, _facts(run), verdict(run.document),
        tuple(sections),
    )  # fmt: skip


def _in_order(run: Run) -> list[str]:
    """Return the labels of all methods but variants: those learned, then the rivals, then the rest."""
    every = [each for field in run.fields for each in field.scores]
    scores = [each for each in every if each.variant_of is None and each.kind not in BOUNDS]
    learned = [each.method for each in scores if each.kind == "policy"]
    rivals = [field.rival.method for field in run.fields if field.rival is not None]
    return list(dict.fromkeys([*learned, *rivals, *(each.method for each in scores)]))


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    document = run.document
    first, last = document["seeds"]
    methods = {each.method for each in run.entrants if each.variant_of is None}
    return (
        ("environments", ", ".join(short_id(field.environment) for field in run.fields)),
        ("methods", str(len(methods))),
        ("episodes of each", f"{run.protocol.episodes}, part {document['part']}, seeds {first} to {last}"),
        ("intervals", f"{100.0 * document['level']:.3g} %, {document['resamples']:,} bootstrap replicates"),
        ("podgym", str(document["versions"].get("podgym", ""))),
    )


def _results(run: Run, own_looks: dict[str, Look]) -> list[Block]:
    blocks: list[Block] = [Paragraph(provenance.cost_words(run))]
    if run.document["remarks"]:
        blocks.append(Bullets(tuple(run.document["remarks"])))
    overall = result_tables.overall_table(run)
    blocks.append(Figures(cost_figures(run, own_looks)))
    blocks += [] if overall is None else [overall]
    for field in run.fields:
        name = field.environment
        inside: list[Block] = [result_tables.cost_table(run, name), result_tables.measure_table(run, name)]
        spread = result_tables.spread_table(run, name)
        inside += [Details(spread.caption, (spread,))] if spread.rows else []
        blocks.append(Section(f"results-{short_id(name)}", short_id(name), tuple(inside)))
    return blocks


def _comparisons(run: Run, own_looks: dict[str, Look]) -> list[Block]:
    tables = [each for name in TABLES if (each := result_tables.comparison_table(run, name)) is not None]
    if not tables:
        return [Paragraph("There is nothing to compare: no method stood against a controller with results.")]
    figures = difference_figures(run, own_looks)
    blocks: list[Block] = [Figures(figures)] if figures else []
    for place, table in enumerate(tables):
        folded = place > 0 or len(table.rows) > _MOST_OPEN_ROWS
        blocks.append(Details(f"{table.caption}: {_counts(table)}", (table,)) if folded else table)
    return blocks


def _counts(table: Table) -> str:
    """Return how often each verdict, the last column, is given."""
    said = [cells[-1].text for cells in table.rows]
    return ", ".join(f"{word} {said.count(word)}" for word in (LOWER, HIGHER, OPEN))


def _profiles(run: Run, own_looks: dict[str, Look]) -> list[Block]:
    figure = profile_figure(run, own_looks)
    if figure is None:
        return [Paragraph("There is no controller with results everywhere to bring the costs to one scale.")]
    return [figure]


def _fronts(run: Run, own_looks: dict[str, Look]) -> list[Block]:
    figures = front_figures(run, own_looks)
    if not figures:
        return []
    blocks: list[Block] = [Figures(figures)]
    if not any(has_front(field) for field in run.fields):
        text = "No method has variants, so there is no front to compare two at equal SLO violation."
        return [*blocks, Paragraph(text)]
    table = result_tables.equal_violation_table(run)
    if table is None:
        blocks.append(
            Paragraph("No method's violations lie within the front of its rival, or the other way round.")
        )
    else:
        blocks.append(table)
    for field in run.fields:
        variants = result_tables.variant_table(run, field.environment)
        blocks += [] if variants is None else [Details(variants.caption, (variants,))]
    return blocks


def _choices(run: Run, drawn: Drawn) -> list[Choice]:
    """Return what is drawn of each environment; a method or seed asked for must be had by one at least."""
    if not drawn.episodes:
        return []
    found, errors = [], []
    for field in run.fields:
        try:
            choice = choose(run, field, drawn.methods or None, drawn.seed)
        except InputError as error:
            errors.append(error)
            continue
        if choice is not None:
            found.append(choice)
    if errors and not found:
        raise errors[0]
    return found


def _episodes(run: Run, choices: Sequence[Choice], own_looks: dict[str, Look]) -> list[Block]:
    if not choices:
        return []
    blocks: list[Block] = [Paragraph(_choice_words(choices))]
    for choice in choices:
        blocks.append(_shown(repeat(run, choice), own_looks))
    return blocks


def _shown(episode: ShownEpisode, own_looks: dict[str, Look]) -> Block:
    if episode.problem:
        where = f"{short_id(episode.choice.environment)}, episode {episode.choice.seed}"
        return Paragraph(f"{where} is not drawn: {episode.problem}.")
    variants = {each.entrant.variant_of or each.entrant.method for each in episode.shown}
    known = own_looks | looks(
        [each.entrant.method for each in episode.shown if each.entrant.method not in own_looks]
    )
    return episode_figure(episode, known if variants else own_looks)


def _choice_words(choices: Sequence[Choice]) -> str:
    if not choices[0].median:
        which = "The episode was asked for by its seed"
    elif any(len(choice.entrants) > 1 for choice in choices):
        which = (
            "Of each environment the episode is drawn in which the difference in cost of the two methods is "
            "the median of all, of two medians the less favourable to the first"
        )
    else:
        which = "Of each environment the episode of the median cost is drawn"
    return (
        f"{which}; of several training seeds the policy of the median mean cost. It was run again for this "
        "page, and load and cost are those of the results."
    )


def _paper(run: Run, drawn: Drawn) -> tuple[Block, ...]:
    return paper_blocks(run) if drawn.episodes else ()


def _repeat(run: Run) -> list[Block]:
    return [provenance.episode_table(run), provenance.hash_table(run), *provenance.repeat_blocks(run)]
