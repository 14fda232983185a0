"""What the site's build adds: formulas as MathML, tables, curves and pages of losses, pages for recorded runs.

MathML needs no script, no web font and no network. Generated pages lie in ``docs/generated`` while the site is built.
"""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from loss_curves import curve_figure
from loss_table import loss_page, pages_of_losses, with_tables

from seg_anl.losses.base import RobustLoss
from seg_anl.losses.declarations import declarations
from seg_anl.reporting.archives import SUFFIX
from seg_anl.reporting.run_directories import FINISHED, read_runs

API = re.compile(r"^<!-- api: ([\w.]+) ([\w ]+) -->$", re.MULTILINE)
CURVE = re.compile(r"^<!-- curve: (\w+) -->$", re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")
TITLED = re.compile(r'^```(\w+) title="([^"\n]+)"$', re.MULTILINE)
SIGNATURE_LINES = re.compile(r"<dl>\s*(?:<dd>.*</dd>\s*)+</dl>(?=\s*<span class=\"sig-paren\">)")
NAME = 'aria-label="Pages below"'
NAMED_OPERATOR = re.compile(r"<mi>(log|exp|max|min)</mi>")
GENERATED = "generated"
RESULTS = "results"
LOSSES = "losses"
# What the report is about: for each data set the runs that were trained longest.
REPORTED = (
    *("mnist-published", "cifar10-4000-60epochs", "cifar10-4000-newer", "isic2017-400", "embedded-200"),
    *("embedded-200-newer", "nnunet-small", "hippocampus"),
)
REPORT_PAGE = """# Report on the recorded runs

For each data set the runs that were trained longest, beside the published numbers; written as this page was built, by

```sh
{command}
```

Start with [tables.md](tables.md), or open [report.html](report.html) for curves and sorting.
[Tables and figures from runs](../../../report.md) says what each number and mark means.
"""


def connect(app: Any, docs: Path, navigation: Mapping[str, Sequence[str]]) -> None:
    """Put all of this into a build of the pages in ``docs``."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    app.connect("builder-inited", lambda app: generate(docs))
    app.connect("source-read", partial(_on_source, docs=docs, navigation=navigation))
    app.connect("autodoc-process-signature", _loss_signature)
    app.connect("autodoc-process-docstring", _loss_docstring)
    app.connect("build-finished", lambda app, failed: None if failed else finish(docs, Path(app.outdir)))


def generate(docs: Path) -> None:
    """Give every loss, every archive of recorded runs, the report on them and the list of these a page."""
    folder = docs / GENERATED
    shutil.rmtree(folder, ignore_errors=True)
    for part in (LOSSES, RESULTS):
        (folder / part).mkdir(parents=True)
    pages = pages_of_losses(docs / LOSSES)
    for name, declaration in declarations().items():
        (folder / LOSSES / f"{name}.md").write_text(loss_page(declaration, pages[name]), encoding="utf-8")
    studies = sorted((docs / RESULTS).glob(f"*{SUFFIX}"))
    for study in studies:
        (folder / RESULTS / f"{study.stem}.md").write_text(results_page(study), encoding="utf-8")
    _write_report(docs)
    listed = ["- [Report on them](report/README.md)", *(f"- [{study.stem}]({study.stem}.md)" for study in studies)]
    below = ["report/*", *(study.stem for study in studies)]
    text = "\n".join(["# Recorded runs", "", *listed, "", hidden_list(below)])
    (folder / RESULTS / "index.md").write_text(text, encoding="utf-8")


def _write_report(docs: Path) -> None:
    """Run ``seg-anl-report`` as a reader would; the report names the archives by their paths in the checkout."""
    place = docs / GENERATED / RESULTS / "report"
    command = ["seg-anl-report", *(f"{docs.name}/{RESULTS}/{study}{SUFFIX}" for study in REPORTED), "--out"]
    subprocess.run([*command, str(place)], cwd=docs.parent, check=True, stdout=subprocess.DEVNULL)
    shown = " \\\n    ".join(" ".join(command[i : i + 2]) for i in range(1, len(command), 2))
    page = REPORT_PAGE.format(command=f"{command[0]} {shown} report")
    (place / "README.md").write_text(page, encoding="utf-8")


def hidden_list(entries: Sequence[str]) -> str:
    """A list of pages below a page, ``NAME``, ``TITLE <NAME>`` or a pattern, for the navigation alone."""
    return "\n".join(["```{toctree}", ":hidden:", ":glob:", "", *entries, "```", ""])


def _on_source(
    app: Any, docname: str, source: list[str], *, docs: Path, navigation: Mapping[str, Sequence[str]]
) -> None:
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".md":
        return
    text = on_site(source[0], path, docs)
    if docname in navigation:
        # From the root of the pages, wherever the page itself lies.
        text += "\n\n" + hidden_list([re.sub(r"([^\s<>]+)(?=>?$)", r"/\1", entry) for entry in navigation[docname]])
    source[0] = text


def on_site(markdown: str, path: Path, docs: Path) -> str:
    """A page's Markdown as the site has it: with tables of losses, curves and entries of the reference.

    Links go to where the site has what they name: an archive of runs and a folder have a page, a report has one of
    its own making.
    """

    def target(match: re.Match[str]) -> str:
        name, anchor = match.groups()
        there = path.parent / name
        up = "../" * len(path.parent.relative_to(docs).parts)
        if there.suffix == SUFFIX and there.is_file() and there.parent.name == RESULTS and GENERATED not in path.parts:
            return f"]({up}{GENERATED}/{RESULTS}/{there.stem}.md)"
        if there.is_dir():
            inside = there.resolve()
            page = f"{name.rstrip('/')}/README.md" if (there / "README.md").is_file() else None
            return f"]({page or f'{up}{GENERATED}/{inside.relative_to(docs).as_posix()}/index.md'})"
        if there.suffix == ".html":
            return f"](page:{name})"
        return f"]({name}{anchor})"

    markdown = LINK.sub(target, with_tables(markdown, docs / LOSSES))
    markdown = TITLED.sub(r"```{code-block} \1\n:caption: \2", markdown)
    markdown = API.sub(_entries, markdown)
    return CURVE.sub(lambda match: curve_figure(match.group(1)), markdown)


def _entries(match: re.Match[str]) -> str:
    """Entries of the reference: ``<!-- api: module name name -->``."""
    module, names = match.group(1), match.group(2).split()
    lines = []
    for name in names:
        kind = "autoclass" if isinstance(inspect.getattr_static(_module(module), name, None), type) else "autofunction"
        lines += [f".. {kind}:: {module}.{name}", *(["   :members:"] if kind == "autoclass" else []), ""]
    return "\n".join(["```{eval-rst}", *lines, "```"])


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _loss_signature(app: Any, what: str, name: str, made: Any, options: Any, signature: str, returned: str) -> Any:
    """A loss's keywords with their defaults alone: what each may be stands below them."""
    if what != "class" or not isinstance(made, type) or not issubclass(made, RobustLoss):
        return None
    parameters = [p for p in inspect.signature(made).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shown = [str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in parameters]
    return f"({', '.join(['*', *shown])})" if shown else signature, None


def _loss_docstring(app: Any, what: str, name: str, made: Any, options: Any, lines: list[str]) -> None:
    """The formula is set above the class; ``help(CLASS)`` has it in LaTeX."""
    lines[:] = [line for line in lines if not line.startswith("Value, in LaTeX:")]


def _visit_math(writer: Any, node: nodes.Element) -> None:
    display = isinstance(node, nodes.math_block)
    made = formula(node.astext().strip(), display=display)
    # A formula of its own scrolls where the screen is narrow, so the keyboard has to reach it.
    writer.body.append(made.replace("<math ", '<math tabindex="0" ', 1) if display else made)
    raise nodes.SkipNode


def formula(latex: str, *, display: bool = False) -> str:
    """MathML of a LaTeX formula.

    Raises:
        ValueError: where a command of it is not known; the converter would print its name.
    """
    if len(re.findall(r"(?<!\\){", latex)) != len(re.findall(r"(?<!\\)}", latex)):
        raise ValueError(f"the braces of the formula {latex} do not match")
    try:
        mathml = convert(latex, display="block" if display else "inline")
    except Exception as error:  # the converter has a class of its own for each mistake
        raise ValueError(f"cannot read the formula {latex}: {type(error).__name__}") from error
    if re.search(r"(?:\\|&#x0005C;)\w", mathml):
        raise ValueError(f"the formula {latex} has a command that is not known")
    # As operators these names keep their distance from what follows.
    return NAMED_OPERATOR.sub(r'<mo lspace="0.17em" rspace="0.17em">\1</mo>', mathml)


def results_page(study: Path) -> str:
    """Markdown of an archive, or a folder, of run directories: a row for each run, with its headline metric."""
    packed = study.suffix == SUFFIX
    lines = [f"# Runs: {study.stem}", ""]
    if packed:
        lines += [
            f"[{study.name}](../../{RESULTS}/{study.name}) holds these runs: "
            f"`seg-anl-report docs/results/{study.name}` shows them, "
            f"`python -m zipfile -e docs/results/{study.name} runs` unpacks them.",
            "",
        ]
    lines += ["| run | status | headline | mean of the last k epochs | k |", "|---|---|---|---|---|"]
    for run in read_runs([study]):
        name = run.path.removeprefix(f"{study}/")
        shown = ("", "", "")
        if run.status == FINISHED:
            shown = (run.summary["headline"], f"{run.headline.value:.4f}", str(run.headline.k))
        lines.append(f"| {' | '.join((name, run.status, *shown))} |")
    return "\n".join(lines) + "\n"


def finish(docs: Path, site: Path) -> None:
    """Mend what screen readers cannot read in the theme's pages, and add the reports, which are pages of their own."""
    for page in site.rglob("*.html"):
        written = page.read_text(encoding="utf-8")
        named = written.replace(
            '<summary><span class="toctree-toggle"', f'<summary {NAME}><span class="toctree-toggle"'
        )
        # Sphinx makes a list of descriptions, without any term, of a signature's lines.
        mended = SIGNATURE_LINES.sub(lambda match: re.sub(r"(</?)d[ld]\b", r"\1span", match.group(0)), named)
        if mended != written:
            page.write_text(mended, encoding="utf-8")
    for report in (docs / GENERATED / RESULTS).glob("*/*.html"):
        target = site / report.relative_to(docs)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(report, target)
