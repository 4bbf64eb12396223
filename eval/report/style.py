"""The style sheet of the page: one column, system type, light and dark, paper and phone."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1d20; --pale: #5c6166; --grid: #dfe2e5; --soft: #f4f6f8; --accent: #0b62a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e7e9eb; --pale: #a2a9b0; --grid: #343a40; --soft: #1d2125; --accent: #6cb4ee;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
p, ul, ol, .lead, dl, nav, .verdict { max-width: 42rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 {
  font-size: 1.35rem; line-height: 1.3; margin: 3rem 0 .8rem; padding-top: .7rem;
  border-top: 1px solid var(--grid);
}
h3 { font-size: 1.08rem; margin: 2.2rem 0 .6rem; }
a { color: var(--accent); text-decoration-thickness: 1px; text-underline-offset: .15em; }
.lead { font-size: 1.08rem; color: var(--pale); margin: 0 0 1.4rem; }
.facts {
  display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0 0 1.6rem;
  font-size: .92rem;
}
.facts dt { color: var(--pale); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.verdict { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem 1.1rem; margin: 1.6rem 0; }
.verdict h2 { border: 0; padding: 0; margin: 0 0 .4rem; font-size: 1.08rem; }
.verdict p { margin: 0; }
.verdict ul { margin: .8rem 0 0; padding-left: 1.1rem; font-size: .93rem; color: var(--pale); }
nav ol { columns: 2 14rem; padding-left: 1.3rem; margin: .3rem 0 0; font-size: .95rem; }
.scroll { overflow-x: auto; margin: 1.1rem 0 .3rem; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table {
  border-collapse: collapse; font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums lining-nums;
}
caption { text-align: left; font-weight: 600; padding: 0 0 .45rem; font-size: .95rem; }
caption span {
  display: inline-block; position: sticky; left: 0; max-width: min(46rem, calc(100vw - 2.2rem));
}
th, td {
  padding: .32rem .7rem .32rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--grid);
}
th:last-child, td:last-child { padding-right: .2rem; }
thead th {
  font-weight: 500; color: var(--pale); vertical-align: bottom; border-bottom: 1px solid var(--pale);
  max-width: 8.5rem;
}
tbody th { font-weight: 400; min-width: 7rem; max-width: 15rem; overflow-wrap: break-word; }
td { max-width: 24rem; }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
thead .number { white-space: normal; }
.interval { display: block; color: var(--pale); font-size: .8em; }
code, pre { font: .86em/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
td code { overflow-wrap: anywhere; display: inline-block; min-width: 14rem; }
tbody th code { min-width: 0; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; margin: 1rem 0; max-width: 100%; }
.note, figcaption {
  font-size: .86rem; line-height: 1.45; color: var(--pale); max-width: 46rem; margin: .3rem 0 1rem;
}
figure { margin: 1.2rem 0 1.6rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
.small {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: .4rem 2rem;
}
.small figure { max-width: 27rem; margin: .6rem 0; }
.wide svg { min-width: 44rem; }
details { margin: .8rem 0; border-bottom: 1px solid var(--grid); padding-bottom: .5rem; }
summary { cursor: pointer; color: var(--accent); font-size: .95rem; }
footer { margin-top: 3.5rem; color: var(--pale); font-size: .86rem; }
@media (max-width: 30rem) {
  body { padding: 1.4rem 1rem 3rem; }
  h1 { font-size: 1.55rem; }
  .facts { grid-template-columns: 1fr; gap: 0; }
  .facts dd { margin-bottom: .4rem; }
  tbody th { max-width: 9rem; min-width: 5rem; }
  tbody th.short { white-space: normal; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #ffffff; --ink: #000000; --pale: #444444; --grid: #cccccc; --soft: #ffffff; --accent: #000000;
  }
  @page { margin: 16mm 14mm; }
  html { font-size: 9.5pt; }
  body { max-width: none; padding: 0; }
  h2 { margin-top: 1.8rem; }
  h2, h3, caption, summary { break-after: avoid; }
  figure, tr, .verdict { break-inside: avoid; }
  .scroll { overflow: visible; }
  .wide svg { min-width: 0; }
  table { font-size: 7pt; }
  th, td { padding: .15rem .4rem .15rem 0; }
  tbody th { min-width: 0; }
  td code { min-width: 0; overflow-wrap: anywhere; }
  .number, .short { white-space: normal; }
  nav { display: none; }
  pre { white-space: pre-wrap; }
  details::details-content { content-visibility: visible; block-size: auto; }
  a { color: inherit; text-decoration: none; }
}
"""
"""CSS; the colours of figures are its variables ``--ink``, ``--pale``, ``--grid`` and ``--paper``."""
