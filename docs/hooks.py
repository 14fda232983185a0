"""What the site's build adds: formulas as MathML, tables and curves of losses, pages for recorded runs.

MathML needs no script, no web font and no network. MkDocs calls the ``on_...`` functions by their names.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from loss_curves import curve_figure
from loss_table import loss_page, pages_of_losses, with_tables
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from seg_anl.losses.declarations import declarations
from seg_anl.reporting.archives import SUFFIX
from seg_anl.reporting.run_directories import FINISHED, read_runs

CURVE = re.compile(r"^<!-- curve: (\w+) -->$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])</\1>', re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)\)")
NAMED_OPERATOR = re.compile(r"<mi>(log|exp|max|min)</mi>")
RESULTS = "results"
LOSSES = "losses"


def on_files(files: Files, config: Any) -> Files:
    """Give every loss, every archive of recorded runs and the list of these a page."""
    root = Path(config["docs_dir"])
    for name, page in pages_of_losses(root / LOSSES).items():
        if not (root / LOSSES / page).is_file():
            files.append(File.generated(config, f"{LOSSES}/{page}", content=loss_page(declarations()[name])))
    studies = sorted((root / RESULTS).glob(f"*{SUFFIX}"))
    for study in studies:
        files.append(File.generated(config, f"{RESULTS}/{study.stem}/index.md", content=results_page(study)))
    reports = sorted(path.parent for path in (root / RESULTS).glob("*/README.md"))
    listed = "\n".join(f"- [{path.stem}]({path.name})" for path in (*studies, *reports))
    files.append(File.generated(config, f"{RESULTS}/index.md", content=f"# Recorded runs and reports\n\n{listed}\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Put tables of losses and curves where a page asks for them, and send links to where the site has what they name.

    A folder has its page, and so has an archive of runs. A report is there as Markdown and as a page of the same name,
    of which the site has the page.
    """
    here = Path(page.file.src_uri).parent
    root = Path(config["docs_dir"])

    def on_site(match: re.Match[str]) -> str:
        target = match.group(1).rstrip("/")
        path = root / here / target
        if path.suffix == SUFFIX and path.is_file() and here.name != path.stem:
            return f"]({target.removesuffix(SUFFIX)}/index.md)"
        if path.is_dir():
            page = "README.md" if (path / "README.md").is_file() else "index.md"
            return f"]({target}/{page})"
        if path.suffix == ".md" and path.with_suffix(".html").is_file():
            return f"]({target.removesuffix('.md')}.html)"
        return match.group(0)

    markdown = LINK.sub(on_site, with_tables(markdown, root / LOSSES))
    return CURVE.sub(lambda match: curve_figure(match.group(1)), markdown)


def on_page_content(content: str, page: Any, config: Any, files: Files) -> str:
    """Turn the formulas that Markdown has marked into MathML."""

    def mathml(match: re.Match[str]) -> str:
        display = match.group(3) is not None
        latex = html.unescape(match.group(3) if display else match.group(2)).strip()
        try:
            return formula(latex, display=display)
        except ValueError as error:
            raise PluginError(f"{page.file.src_uri}: {error}") from error

    return FORMULA.sub(mathml, content)


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
            f"[{study.name}](../{study.name}) holds these runs: `seg-anl-report docs/results/{study.name}` shows them, "
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
