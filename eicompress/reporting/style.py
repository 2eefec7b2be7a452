"""The style sheet of a report, the scripts of its figures, and the rules for what the page may load."""

STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --soft: #5f6368; --line: #d9dce0; --back: #fff; --tile: #f4f6f8;
  --veil: rgba(255, 255, 255, .75); }
@media (prefers-color-scheme: dark) { :root { --text: #e6e6e6; --soft: #a4a9b0; --line: #3a3f45; --back: #16181b;
  --tile: #212429; --veil: rgba(22, 24, 27, .75); } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 46rem; padding: 1.2rem 1rem 4rem; background: var(--back); color: var(--text);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.35rem; margin: 0 0 .6rem; } h2 { font-size: 1.15rem; margin: 2.6rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; } .lead { font-size: 1.08rem; }
.asked { font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: .6rem; margin: .9rem 0; }
@media (max-width: 40rem) { .tiles { grid-template-columns: repeat(2, 1fr); } }
.tile { background: var(--tile); border-radius: .5rem; padding: .55rem .7rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-weight: 600; white-space: nowrap; }
.tile span { display: block; color: var(--soft); font-size: .82rem; line-height: 1.35; }
pre { background: var(--tile); border-radius: .5rem; padding: .55rem .7rem; white-space: pre-wrap; margin: .5rem 0;
  font-size: .86rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .5rem 0; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .28rem .6rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
td, th { overflow-wrap: break-word; } td:last-child { overflow-wrap: anywhere; } .scroll { overflow-x: auto; }
@media (max-width: 40rem) { table { font-size: .82rem; } th, td { padding-right: .4rem; } } .figure { margin: .3rem 0; }
"""

SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)");
function theme(layout) {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const line = colour("--line"), back = colour("--tile"), text = colour("--text");
  const found = { "font.color": text, "font.family": "system-ui, sans-serif", "hoverlabel.bgcolor": back,
    "hoverlabel.bordercolor": line, "hoverlabel.font.color": text };
  for (const axis of ["xaxis", "yaxis"]) {
    found[axis + ".gridcolor"] = line; found[axis + ".linecolor"] = line; found[axis + ".tickcolor"] = line; }
  // What is written on lines and marks can be read.
  for (const at in layout.annotations || []) found[`annotations[${at}].bgcolor`] = colour("--veil");
  return found;
}
const figures = [...document.querySelectorAll(".figure")], shown = new Set();
function draw(place) {
  if (shown.has(place)) return;
  shown.add(place);
  const figure = JSON.parse(place.querySelector("script").textContent);
  for (const [path, value] of Object.entries(theme(figure.layout))) {
    const parts = path.replace("[", ".").replace("]", "").split("."), last = parts.pop();
    parts.reduce((inner, part) => inner[part] ??= {}, figure.layout)[last] = value; }
  Plotly.newPlot(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
}
// A figure is drawn when it comes near, so that a long page opens at once.
const near = new IntersectionObserver(
  entries => entries.forEach(entry => entry.isIntersecting && draw(entry.target)), { rootMargin: "800px" });
figures.forEach(place => near.observe(place));
addEventListener("beforeprint", () => figures.forEach(draw));
dark.addEventListener("change", () => shown.forEach(place => Plotly.relayout(place, theme(place.layout))));
"""

# Nothing may be loaded from anywhere, whatever the page says.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
