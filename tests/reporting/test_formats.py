"""The files of a report (Markdown, CSV, LaTeX and the page) with hostile names."""

from __future__ import annotations

import csv
import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from seg_anl.reporting.render import latex_text, markdown_text, write_report

HOSTILE = "<script>alert('1')</script> & \"50%\" a_b|c $x$ \\end{table} {é} 中"


@pytest.fixture
def written(report_of, tmp_path):
    """Write the report of the runs below ``tmp_path``, or other folders, into a folder."""

    def write(name="out", **places) -> Path:
        write_report(report_of(**places), tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def hostile_report(write_run, written) -> Path:
    """A report in which every user-chosen name is hostile."""
    data = {"name": "folder", "root": f"../{HOSTILE}"}
    for seed in (1, 2):
        write_run(f"s{seed}", metric="dice", seed=seed, data=data, loss={"name": HOSTILE, "<b>": 1.0})
    write_run("three", metric="dice", seed=3, data=data, loss={"name": HOSTILE}, noise={"alpha": 0.1, "beta": HOSTILE})
    broken = write_run("<img src=x onerror=alert(1)>", metric="dice", seed=4, data=data)
    (broken / "summary.json").write_text("{")
    return written()


class Tags(html.parser.HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "xlink:href")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_shows_hostile_names_as_text_and_has_no_external_references(hostile_report):
    text = (hostile_report / "report.html").read_text(encoding="utf-8")
    page = Tags(text)
    assert page.open == []
    assert page.tags.count("script") == 1
    assert not {"img", "link"} & {*page.tags}
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "<SCRIPT>ALERT('1')</SCRIPT>" in page.text  # an unknown loss is shown in capitals
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text
    targets = set(re.findall(r'id="([^"]+)"', text))  # links within the page lead somewhere
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= targets
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= targets


def test_latex_special_characters_are_escaped():
    assert latex_text("a_b & 5% #1 $x$ {y} ~^\\") == (
        r"a\_b \& 5\% \#1 \$x\$ \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert latex_text("α 0.7 ± 1") == r"$\alpha$ 0.7 $\pm$ 1"
    assert latex_text("中\x07é") == r"\texttt{U+4E2D}é"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(hostile_report, tmp_path):
    tables = sorted(hostile_report.glob("*.tex"))
    assert tables
    inputs = "\n".join(rf"\input{{{path.name}}}" for path in tables)
    letters = latex_text("".join(map(chr, range(0x20, 0x250))) + "αβγδεηλνρστ±²×−中")
    (hostile_report / "letters.tex").write_text(letters)
    inputs += r" \input{letters.tex}"
    (hostile_report / "all.tex").write_text(
        f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=hostile_report, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_latex_braces_and_environments_match(hostile_report):
    for path in hostile_report.glob("*.tex"):
        text = path.read_text(encoding="utf-8").replace(r"\{", "").replace(r"\}", "")
        assert text.count("{") == text.count("}")
        begun, ended = re.findall(r"\\begin{(\w+\*?)}", text), re.findall(r"\\end{(\w+\*?)}", text)
        assert sorted(begun) == sorted(ended)


def test_best_is_bold_in_latex_and_markdown(write_run, written):
    for seed in (1, 2):
        write_run(f"ce{seed}", [0.1, 0.6], seed=seed)
        write_run(f"gce{seed}", [0.1, 0.7], seed=seed, loss={"name": "gce"})
    out = written()
    latex = next(out.glob("*.tex")).read_text()
    assert re.search(r"^GCE & \{\\boldmath\\bfseries 70.00 \$\\pm\$ 0.00\}", latex, re.MULTILINE)
    assert re.search(r"^CE & 60.00 \$\\pm\$ 0.00", latex, re.MULTILINE)
    markdown = next(out.glob("cifar*.md")).read_text()
    assert "| GCE | **70.00 ± 0.00** | 2 | 82.44 ± 0.26 | −12.44 |" in markdown
    assert "| CE | 60.00 ± 0.00 | 2 | 58.19 ± 0.21 | +1.81 |" in markdown


def test_markdown_tables_keep_their_shape_with_hostile_names(hostile_report):
    for path in hostile_report.glob("*.md"):
        widths: list[int] = []
        for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
            assert "<script" not in line.lower()
            if line.startswith("|"):
                widths.append(len(re.findall(r"(?<!\\)\|", line)))
            else:
                assert len(set(widths)) <= 1
                widths = []


def test_markdown_in_names_is_escaped():
    assert markdown_text("a|b `c` [d](e) *f* _g_") == r"a\|b \`c\` \[d\](e) \*f\* \_g\_"


def test_csv_has_full_precision(write_run, written, tmp_path):
    for seed, dice in ((1, 0.77), (2, 0.79)):
        write_run(f"s{seed}", [0.1, dice], metric="dice", seed=seed, loss={"name": "anl_ce"})
    with open(written() / "isic-vi-isic2017.csv", newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    ours = rows["ANL-CE"]
    assert float(ours["mean"]) == pytest.approx(78.0, abs=1e-12)
    assert float(ours["std"]) == pytest.approx(2.0**0.5, abs=1e-9)
    assert float(ours["difference"]) == pytest.approx(0.7)
    assert (ours["seeds"], ours["published_mean"], ours["published_runs"]) == ("2", "77.3", "3")
    assert ours["runs"] == f"{tmp_path / 's1'}; {tmp_path / 's2'}"
    assert rows["T-Loss"]["mean"] == ""
    assert float(rows["T-Loss"]["published_mean"]) == 76.1


def test_pictures_are_embedded_and_downsized(write_run, written):
    run = write_run("a")
    Image.new("RGB", (3000, 300), "red").save(run / "report.png")
    (write_run("b", loss={"name": "mae"}) / "report.png").write_bytes(b"no picture")
    page = Tags((written() / "report.html").read_text(encoding="utf-8"))
    (address,) = [address for address in page.addresses if address.startswith("data:")]
    assert address.startswith("data:image/jpeg;base64,")
    assert len(address) < 50_000


def test_output_does_not_depend_on_the_order_of_runs(write_run, written, tmp_path):
    for seed in (1, 2, 3):
        for loss in ("ce", "gce"):
            write_run(f"runs/{loss}{seed}", [0.5, 0.6 + seed / 97], seed=seed, loss={"name": loss})
    places = sorted((tmp_path / "runs").iterdir())
    outs = [
        {path.name: path.read_bytes() for path in written(name, places=order).iterdir()}
        for name, order in (("one", places), ("other", places[::-1]), ("all", [tmp_path / "runs"]))
    ]
    assert outs[0] == outs[1] == outs[2]


def test_damaged_run_changes_no_table(write_run, written, tmp_path):
    for seed in (1, 2):
        write_run(f"runs/s{seed}", [0.5, 0.6 + seed / 97], seed=seed)
    before = written("before", places=[tmp_path / "runs"])
    broken = write_run("runs/broken", seed=3)
    (broken / "metrics.csv").write_text("epoch,split\n0")
    after = written("after", places=[tmp_path / "runs"])
    for path in before.glob("cifar10*"):
        assert path.read_bytes() == (after / path.name).read_bytes()
    assert str(broken) in (after / "report.html").read_text(encoding="utf-8")
    assert "last line is cut off" in (after / "tables.md").read_text(encoding="utf-8")
