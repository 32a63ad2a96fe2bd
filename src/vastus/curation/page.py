"""The list of findings as one HTML page beside its pictures: no script, no request leaves the folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vastus.curation.findings import PICTURES, Finding
from vastus.io.atomic import write_text

PAGE_FILE: Final = "index.html"

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Label check</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #22282b; background: #fff; max-width: 1000px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } .quiet { color: #66727a; }
article { border-top: 1px solid #dde3e6; padding: 1rem 0; } h2 { font-size: 1.05rem; margin: 0 0 .2rem; }
img { max-width: 100%; border-radius: 4px; margin-top: .5rem; } .score { float: right; color: #66727a; }
table { border-collapse: collapse; } td { padding: .1rem 1.2rem .1rem 0; }
@media (prefers-color-scheme: dark) { body { background: #14181a; color: #dfe6e9; } article { border-color: #2b3337; } }
</style></head><body>
<h1>Label check</h1>
<p class="quiet">{{ cases }} scans, {{ findings|length }} findings{% if not model %}; no model was asked{% endif %}.
The most suspicious come first. 1 is the limit of a detector.
A finding is a reason to look, not an error; nothing was changed.</p>
<table>{% for kind, count in kinds %}<tr><td>{{ kind }}</td><td>{{ count }}</td></tr>{% endfor %}</table>
{% for f in findings %}<article id="{{ f.id }}"><span class="score">{{ "%.1f"|format(f.score) }}</span>
<h2>{{ f.name.replace("_", " ") }} <span class="quiet">{{ f.case }}</span></h2>
<div>{{ f.kind.value }}: {{ f.detail }}</div>
<div class="quiet">{{ f.id }}, axial slice {{ f.slice_index }} from the feet{% if not f.has_proposal %}, no proposal
{% endif %}</div>
{% if f.id in pictures %}<img src="{{ folder }}/{{ f.id }}.png" alt="{{ f.name }} in {{ f.case }}" loading="lazy">
{% endif %}</article>{% else %}<p>Nothing to look at.</p>{% endfor %}
</body></html>
"""


def write_page(output: Path, findings: Sequence[Finding], case_count: int, *, with_model: bool) -> None:
    """Write ``index.html`` into the folder of a check."""
    from collections import Counter

    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(_TEMPLATE)
    kinds = Counter(f.kind.value for f in findings).most_common()
    drawn = {f.id for f in findings if (output / PICTURES / f"{f.id}.png").is_file()}
    text = template.render(
        cases=case_count, findings=findings, kinds=kinds, pictures=drawn, folder=PICTURES, model=with_model
    )
    write_text(output / PAGE_FILE, text)
