"""compare.html: the verdict, a table and a chart in one self-contained page."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup

from seg_anl import __version__
from seg_anl.records import write_text

from .plan import Plan
from .verdict import Difference

matplotlib.use("svg")
import matplotlib.pyplot as plt

_TEMPLATE = Path(__file__).with_name("page.html")


def write_page(path: Path, plan: Plan, results: Mapping[str, Any], differences: Mapping[str, Difference]) -> None:
    """Write the page for ``results``, the content of compare.json."""
    rows = [(method, results["scores"][method.name], differences[method.name]) for method in plan.methods]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters |= {"mean": statistics.fmean, "deviation": statistics.stdev}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    chart = Markup(_draw_chart(results["scores"], results["metric"]))
    review = "audit/review.html" if (path.parent / "audit" / "review.html").is_file() else None
    data = {**results, "rows": rows, "seeds": plan.seeds, "data": plan.data.resolve().name, "review": review}
    data |= {"chart": chart, "version": __version__}
    write_text(path, template.render(data))


def _draw_chart(scores: Mapping[str, list[float]], metric: str) -> str:
    """One gray line per seed across the losses, and the means, as an ``<svg>`` element."""
    with matplotlib.rc_context({"svg.hashsalt": "compare", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(1.6 + 1.2 * len(scores), 3.2), layout="constrained")
        for of_seed in zip(*scores.values(), strict=True):
            axes.plot(list(scores), of_seed, color="0.6", marker=".", linewidth=1)
        means = [statistics.fmean(of_loss) for of_loss in scores.values()]
        axes.plot(list(scores), means, "_", markersize=24, color="#D55E00")
        axes.set_ylabel(metric)
        axes.margins(x=0.15)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        plt.close(figure)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace("#000000", "currentColor")  # black is unreadable on a dark page
