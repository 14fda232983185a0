"""What a loss says of itself is true, is known without torch, and all that lists losses follows from it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import seg_anl.losses
from seg_anl.losses import RobustLoss, build_loss, list_losses, loss, loss_class, stubs
from seg_anl.losses import declarations as source
from seg_anl.losses.declarations import declarations
from seg_anl.records.ranges import Count

# The order of reports and the papers' names, as tables of recorded runs have them.
IN_REPORTS = {
    **{"ce": "CE", "focal": "FL", "mae": "MAE", "gce": "GCE", "sce": "SCE", "phuber_ce": "PHCE", "taylor_ce": "TCE"},
    **{"lsr": "LSR", "bootstrap_soft": "Bootstrap (soft)", "bootstrap_hard": "Bootstrap (hard)"},
    **{"forward": "Forward", "nlnl": "NLNL", "el": "EL", "el_lsr": "LSR+EL", "nr_dice": "NR-Dice"},
    **{"t_loss": "T-Loss", "slsr": "SLSR", "ce_sr": "CE+SR"},
    **{"nce": "NCE", "nce_agce": "NCE+AGCE", "nce_rce": "NCE+RCE", "ngce_mae": "NGCE+MAE"},
    **{"anl_ce": "ANL-CE", "anl_fl": "ANL-FL", "anl_ce_er": "ANL-CE*", "anl_fl_er": "ANL-FL*"},
}


def test_order_and_names_of_reports() -> None:
    known = declarations()
    assert {name: known[name].title for name in known if name in IN_REPORTS} == IN_REPORTS
    assert [name for name in known if name in IN_REPORTS] == list(IN_REPORTS)
    titles = [declaration.title for declaration in known.values() if declaration.order == 100]
    assert titles == sorted(titles)


def test_what_the_source_says_is_what_the_program_has() -> None:
    for name, read in declarations().items():
        found = source.declaration_of(name, source.declared(read))
        text = read.docstring.partition("\nReference: ")[0].rstrip()
        assert found.docstring.startswith(text), name  # a class has got the shared sections since
        assert replace(found, docstring=read.docstring) == read


def test_a_class_is_what_its_declaration_says(make_loss: Any) -> None:
    logits, labels = torch.randn(20, 3, 2), torch.randint(3, (20, 2))
    for name, known in declarations().items():
        made = getattr(seg_anl.losses, known.class_name)
        module = make_loss(name)
        assert type(module) is made is loss_class(name)
        assert isinstance(module, (RobustLoss, torch.nn.modules.loss._Loss)), name
        assert repr(module).startswith(f"{known.class_name}(")
        own = [key for key in inspect.signature(made).parameters if key not in (*source.COMMON, "keywords")]
        assert own == list(known.parameters), name
        first, second = (torch.manual_seed(seed) and module(logits, labels) for seed in (1, 2))
        assert (first != second) == known.draws == module.draws, name
        assert bool(module.state_dict()) == known.has_state, name
        for stated in (known.summary, known.formula, known.source, *known.parameters, "Shape:", "reduction"):
            assert stated.split("\n")[0] in (made.__doc__ or ""), (name, stated)
        assert known.formula, name
        assert known.source or name == "ce"


def test_signature_and_documentation_of_one() -> None:
    made = seg_anl.losses.GCELoss
    assert list(inspect.signature(made).parameters) == ["q", "exact_official", *source.COMMON]
    assert inspect.signature(made).parameters["q"].default == 0.7
    assert "q: a number >= 1e-12 and <= 1; 0.7 by default." in made.__doc__
    assert "(1 - p_y^q) / q" in made.__doc__
    assert "Reference: Zhang & Sabuncu" in made.__doc__
    assert (
        repr(made(q=0.5, ignore_index=255)) == "GCELoss(q=0.5, exact_official=True, reduction=mean, ignore_index=255)"
    )
    assert repr(seg_anl.losses.CELoss(activation="sigmoid")) == "CELoss(reduction=mean, activation=sigmoid)"
    assert {"GCELoss", "TLoss", "build_loss"} <= set(dir(seg_anl.losses))
    with pytest.raises(AttributeError, match=r"GCELos.*GCELoss"):
        seg_anl.losses.GCELos  # noqa: B018


def in_a_new_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_need_no_torch_and_losses_need_torch_alone() -> None:
    output = in_a_new_python(
        "import sys, seg_anl.losses as l; from seg_anl.losses.declarations import declarations\n"
        "declarations(); l.list_losses(); dir(l); print('torch' in sys.modules)\n"
        "from seg_anl.losses import *\nfrom seg_anl.losses import GCELoss, TLoss\n"
        "print([m for m in ('omegaconf', 'hydra', 'monai', 'scipy', 'torchvision', 'pandas') if m in sys.modules])\n"
        "print(GCELoss.__name__, t_loss.__name__)"
    )
    assert output.splitlines() == ["False", "[]", "GCELoss t_loss"]


def test_what_the_stub_says_is_true() -> None:
    tree = ast.parse(stubs.STUB.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) >= 40
    for node in classes:
        made = getattr(seg_anl.losses, node.name)
        (init,) = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
        defaults = [ast.literal_eval(default) for default in init.args.kw_defaults if default]
        stated = dict(zip([argument.arg for argument in init.args.kwonlyargs], defaults, strict=True))
        actual = {name: parameter.default for name, parameter in inspect.signature(made).parameters.items()}
        assert stated == actual, node.name
        assert ast.unparse(node.bases[0]) in {base.__name__ for base in made.__mro__[1:]}
    handed_on = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    for name in filter(None, handed_on):
        assert hasattr(seg_anl.losses, name), name
    ast.parse(stubs.stub_text())


# Declarations outside the package


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_outside", {})
    monkeypatch.setattr(source, "_declared", dict(source._declared))


@pytest.mark.usefixtures("outside")
def test_a_program_declares_its_own(evaluate: Any) -> None:
    @loss("half_ce", title="CE/2", order=3)
    def half_ce(pred: Any, *, share: float = 0.5) -> Any:
        """Half of cross entropy.

        Reference: nobody,
        nowhere.
        """
        return -share * pred.target_log_prob

    @loss("zero", formula="0")
    class ZeroLoss(RobustLoss):
        """Nothing."""

        def evaluate(self, batch: Any) -> Any:
            return 0 * batch.logits.sum(1), batch.counted

    known = declarations()["half_ce"]
    assert (known.class_name, known.source, known.summary) == ("CE2Loss", "nobody, nowhere.", "Half of cross entropy.")
    assert list(declarations()).index("half_ce") < list(declarations()).index("gce")
    assert {"half_ce", "zero"} <= set(list_losses())
    assert type(build_loss("zero")) is ZeroLoss
    logits, labels = torch.randn(4, 3), torch.randint(3, (4,))
    torch.testing.assert_close(build_loss("half_ce")(logits, labels), build_loss("ce")(logits, labels) / 2)
    pair = build_loss("active_passive", active="nce", passive="half_ce", share=0.25)
    expected = build_loss("nce")(logits, labels) + build_loss("ce")(logits, labels) / 4
    torch.testing.assert_close(pair(logits, labels), expected)


@pytest.mark.usefixtures("outside")
def test_declarations_that_are_refused() -> None:
    def plain(pred: Any) -> Any:
        return pred.miss()

    with pytest.raises(ValueError, match=r"'gce' is declared already, in seg_anl.losses.generalized_cross_entropy"):
        loss("gce")(plain)

    def without_default(pred: Any, *, share: float) -> Any:
        return share * pred.miss()

    with pytest.raises(ValueError, match="share needs a default and an annotation"):
        loss("without_default")(without_default)


def in_package(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> dict[str, Any]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    for name in ("base", "declarations", "chunked", "inputs", "powers"):
        (folder / f"{name}.py").write_bytes((Path(source.__file__).parent / f"{name}.py").read_bytes())
    monkeypatch.setattr(source, "_FOLDER", folder)
    caches = (source._package, source._tree, source._names)
    for cached in caches:
        cached.cache_clear()
    try:
        return source._package()
    finally:
        for cached in caches:
            cached.cache_clear()


def test_reading_defaults_ranges_and_bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = in_package(
        tmp_path,
        monkeypatch,
        parts="import math\nimport torch\nfrom .base import FunctionLoss\nfrom seg_anl.records.ranges import Count\n"
        "TINY = torch.finfo(torch.float32).tiny\nLOW = -math.log(8) / math.log(2)\n"
        "class Doubled(FunctionLoss):\n    draws = True\n    def __init__(self, *, twice: Count = 2, **own): ...\n",
        lost="from seg_anl.losses.parts import LOW, Doubled\nfrom .declarations import loss\n"
        "@loss('lost', base=Doubled)\ndef lost(pred, *, low: float = LOW, on: bool | None = None):\n    'Lost.'\n",
    )
    assert found["lost"].parameters == {"low": pytest.approx(-3), "on": None, "twice": 2}
    assert found["lost"].annotations["twice"] == Count
    assert (found["lost"].draws, found["lost"].has_state, found["lost"].base) == (True, False, "Doubled")
    assert (found["lost"].title, found["lost"].class_name, found["lost"].summary) == ("LOST", "LOSTLoss", "Lost.")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "@loss('x')\ndef x(pred): ...", "b": "@loss('x')\ndef x(pred): ..."}, "both declare 'x'"),
        ({"a": "@loss('x')\ndef x(pred, *, q: float): ..."}, "a.x: q needs a default"),
        ({"a": "@loss('x')\ndef x(pred, *, q=1): ..."}, "a.x: q needs a default"),
    ],
)
def test_declarations_that_cannot_be_read(
    files: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=message):
        in_package(tmp_path, monkeypatch, **files)
