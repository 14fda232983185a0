"""The documentation site: ``make docs`` writes it to site/. It loads nothing from elsewhere; it opens from disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # this build's own modules, and the package that lies beside it

# For the notebooks: the commands of this environment, no bars of progress, no warnings of other libraries.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}

import hooks  # noqa: E402

from seg_anl import __version__  # noqa: E402

project = "seg_anl"
author = "The seg_anl team"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["**.ipynb_checkpoints"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "page": {"url": "{{path}}"}}  # page: an HTML file of its own making
html_math_renderer = "mathml"  # hooks.py: no script, no web font

# The build runs the notebooks; the one on nnU-Net takes minutes and has its outputs with it.
nb_execution_mode = "force"
nb_execution_excludepatterns = ["notebooks/nnunet.ipynb"]
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True

# A link that leads nowhere stops the build. Types in signatures may: the reference has the names that people call.
nitpicky = False
suppress_warnings = ["myst.header"]  # sections of losses are ### everywhere, whatever is above them
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Keywords", "params_style"), ("Shape", "notes_style")]
napoleon_numpy_docstring = False
napoleon_use_ivar = True
add_module_names = False
python_maximum_signature_line_length = 88

html_theme = "pydata_sphinx_theme"
html_title = "seg_anl"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_domain_indices = False
html_use_index = False
html_sidebars = {"index": [], "**": ["sidebar-nav-bs"]}
html_theme_options = {
    "logo": {"text": "seg_anl"},
    "header_links_before_dropdown": 9,
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

# What is where. A page's entry here is a hidden list at its end, so that the pages themselves stay plain Markdown.
NAVIGATION = {
    "index": [
        "Install <install>",
        "nnU-Net <nnunet>",
        "Own images <segmentation>",
        "PyTorch and MONAI <python>",
        "Which loss <losses/index>",
        "Noise <noise>",
        "Find wrong annotations <audit>",
        "Reproduce papers <presets>",
        "Reference <reference>",
    ],
    "install": ["faq", "security"],
    "nnunet": ["notebooks/nnunet"],
    "segmentation": ["volumes", "raters", "classification", "export"],
    "python": ["notebooks/losses", "add_a_loss"],
    "losses/index": [
        "when_it_helps",
        "choosing",
        *(f"losses/{family}" for family in ("cross_entropy", "active_passive", "active_negative", "sparse")),
        *(f"losses/{family}" for family in ("t_loss", "nr_dice", "newer")),
        "benchmarks",
    ],
    "noise": ["label_noise", "notebooks/noise"],
    "audit": ["audit_labels", "audit_measured", "compare"],
    "presets": ["protocols", "datasets", "report", "figures", "isic2017", "generated/results/index"],
    "api/losses": ["generated/losses/*"],
    "reference": ["api/losses", "api/noise", "api/training", "api/audit", "api/reporting"],
}


def setup(app: object) -> None:
    """Sphinx calls this."""
    hooks.connect(app, DOCS, NAVIGATION)
