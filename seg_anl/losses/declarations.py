"""The ``@loss`` decorator that declares a loss, and the declarations of this package, read without importing torch.

Everything that lists losses follows from ``@loss("gce")`` on the function or class: :func:`build_loss`, the commands'
``loss=`` settings, reports, documentation, tests. This package's files are parsed, not imported, so that ``--help`` and
a misspelled name do not wait for torch. A loss outside the package is known once its module is imported.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar

from seg_anl.records.ranges import keyword_parameters


class Common(TypedDict, total=False):
    """Keywords of every loss, see :class:`~seg_anl.losses.base.RobustLoss`."""

    class_weights: Any
    reduction: str
    ignore_index: int | None
    activation: str


COMMON = tuple(Common.__annotations__)
Target = TypeVar("Target", bound=Callable[..., Any])

_FOLDER = Path(__file__).parent
_DEFAULT_BASE = "PointwiseLoss"
_FLAGS = ("has_state", "draws", "per_image")  # attributes of classes


@dataclass(frozen=True)
class Declaration:
    """A declared loss.

    Attributes:
        name: in :func:`build_loss` and settings, ``"anl_ce_er"``.
        title: in papers and reports, ``"ANL-CE*"``.
        class_name: in ``seg_anl.losses``, ``"ANLCEERLoss"``.
        module: where it is defined.
        parameters: its own keywords and their defaults, in the order of the signature.
        annotations: the types and ranges of ``parameters``, see :mod:`seg_anl.records.ranges`.
        formula: the value of an element in LaTeX; p is the prediction, y the label, C the number of classes.
        symmetric: whether the sum over all labels is constant, for any prediction and parameters.
        has_state: whether it has a ``state_dict()``: a learned parameter, a schedule, a matrix.
        draws: whether it draws random numbers.
        per_image: whether ``reduction="none"`` gives one value per image instead of one per element.
        order: its position in reports; ties are sorted by title.
        docstring: of the function or class.
        base: the base class of a loss written as a function; empty for a class.
    """

    name: str
    title: str
    class_name: str
    module: str
    parameters: dict[str, Any]
    annotations: dict[str, Any]
    formula: str
    symmetric: bool
    has_state: bool
    draws: bool
    per_image: bool
    order: int
    docstring: str
    base: str

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docstring.partition("\n")[0]

    @property
    def source(self) -> str:
        """Paper and equation: the text after ``Reference:`` in the docstring."""
        found = re.search(r"^Reference: (.*?)(?:\n\n|\Z)", self.docstring, re.MULTILINE | re.DOTALL)
        return " ".join(found.group(1).split()) if found else ""


class Declared(NamedTuple):
    """A decorated function or class, its base class if given, and the decorator's other arguments."""

    target: Any
    base: type | None
    given: dict[str, Any]


_declared: dict[str, Declared] = {}
_outside: dict[str, Declaration] = {}


def loss(
    name: str,
    *,
    title: str = "",
    class_name: str = "",
    formula: str = "",
    symmetric: bool = False,
    order: int = 100,
    base: type | None = None,
) -> Callable[[Target], Target]:
    """Declare the decorated function or class, which is returned unchanged, as the loss ``name``.

    A function takes :class:`LabeledLogProbs` and keyword-only parameters with defaults, and returns one value per
    element. A class is a :class:`RobustLoss`. The docstring gives paper and equation after ``Reference:``. In this
    package the arguments must be literals (and ``base`` the name of a class), because they are parsed, not executed.

    Args:
        name: a lower-case identifier.
        title: the name in papers; by default ``name`` in upper case, with ``+`` for ``_``.
        class_name: of the class made from a function; by default the title's letters and ``Loss``.
        formula: the value of an element in LaTeX.
        symmetric: whether the sum over all labels is constant.
        order: position in reports; by default after the single losses and before the project's own.
        base: the base class of a loss written as a function, by default ``PointwiseLoss``.

    Raises:
        ValueError: if another loss has this name.
    """

    def declare(target: Target) -> Target:
        given = {"title": title, "class_name": class_name, "formula": formula, "symmetric": symmetric, "order": order}
        if target.__module__.rpartition(".")[0] != __package__:
            if name in _package() or (name in _outside and _outside[name].module != target.__module__):
                raise ValueError(f"a loss {name!r} is declared already, in {declarations()[name].module}")
            _outside[name] = declaration_of(name, Declared(target, base, given))
        _declared[name] = Declared(target, base, given)
        return target

    return declare


def declarations() -> dict[str, Declaration]:
    """All losses by name, in the order of reports."""
    known = {**_package(), **_outside}
    return dict(sorted(known.items(), key=lambda item: (item[1].order, item[1].title)))


def list_losses() -> list[str]:
    """The names that :func:`build_loss` knows, sorted."""
    return sorted(declarations())


def declared(declaration: Declaration) -> Declared:
    """The decorated object of a declaration; imports its module."""
    if declaration.name not in _declared:
        import_module(declaration.module)
    return _declared[declaration.name]


def declaration_of(name: str, declared: Declared) -> Declaration:
    """The declaration of an imported function or class."""
    target, base, given = declared
    function = not isinstance(target, type)
    if function and base is None:
        base = getattr(import_module(f"{__package__}.base"), _DEFAULT_BASE)
    made_of: Any = base if function else target
    parameters = {**(keyword_parameters(target) if function else {}), **keyword_parameters(made_of.__init__)}
    parameters = {key: parameter for key, parameter in parameters.items() if key not in COMMON}
    for key, parameter in parameters.items():
        if parameter.empty in (parameter.default, parameter.annotation):
            raise ValueError(f"{target.__module__}.{target.__name__}: {key} needs a default and an annotation")
    return _completed(
        name,
        given,
        {flag: getattr(made_of, flag) for flag in _FLAGS},
        target_name=target.__name__,
        module=target.__module__,
        parameters={key: parameter.default for key, parameter in parameters.items()},
        annotations={key: parameter.annotation for key, parameter in parameters.items()},
        docstring=inspect.getdoc(target) or "",
        base=base.__name__ if function and base else "",
    )


def _completed(
    name: str, given: dict[str, Any], flags: dict[str, bool], *, target_name: str, base: str, **read: Any
) -> Declaration:
    """A declaration, with defaults for what the decorator's arguments omit."""
    title = given.get("title") or name.upper().replace("_", "+")
    made = given.get("class_name") or re.sub(r"\W", "", title.replace("+", "and")) + "Loss"
    return Declaration(
        name=name,
        title=title,
        class_name=made if base else target_name,
        formula=given.get("formula", ""),
        symmetric=given.get("symmetric", False),
        order=given.get("order", 100),
        base=base,
        has_state=flags["has_state"],
        draws=flags["draws"],
        per_image=flags["per_image"],
        **read,
    )


# Parsing the package's files


@cache
def _package() -> dict[str, Declaration]:
    found: dict[str, Declaration] = {}
    for path in sorted(_FOLDER.glob("*.py")):
        for declaration in _declarations_in(path.stem):
            if declaration.name in found:
                raise ValueError(f"{found[declaration.name].module} and {path.stem} both declare {declaration.name!r}")
            found[declaration.name] = declaration
    return found


@cache
def _tree(module: str) -> ast.Module:
    path = _FOLDER / f"{module}.py"
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _declarations_in(module: str) -> Iterator[Declaration]:
    for node in _tree(module).body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == loss.__name__:
                yield _declaration_from_source(module, node, decorator)


def _declaration_from_source(module: str, node: ast.FunctionDef | ast.ClassDef, decorator: ast.Call) -> Declaration:
    (name,) = (ast.literal_eval(argument) for argument in decorator.args)
    keywords = {keyword.arg: keyword.value for keyword in decorator.keywords if keyword.arg}
    base = keywords.pop("base", None)
    given = {key: ast.literal_eval(value) for key, value in keywords.items()}
    base_name = "" if isinstance(node, ast.ClassDef) else ast.unparse(base) if base else _DEFAULT_BASE
    made_of = node.name if isinstance(node, ast.ClassDef) else base_name
    classes = list(_ancestry(module if base or not base_name else "base", made_of))
    init_module, init = next((home, inner) for home, outer in classes for inner in outer.body if _is_init(inner))
    written = [*(_keywords(module, node) if isinstance(node, ast.FunctionDef) else ()), *_keywords(init_module, init)]
    parameters = {key: (default, annotation) for key, default, annotation in written}
    return _completed(
        name,
        given,
        {flag: _class_attribute(classes, flag) for flag in _FLAGS},
        target_name=node.name,
        module=f"{__package__}.{module}",
        parameters={key: default for key, (default, _) in parameters.items()},
        annotations={key: annotation for key, (_, annotation) in parameters.items()},
        docstring=ast.get_docstring(node) or "",
        base=base_name,
    )


def _keywords(module: str, function: ast.FunctionDef) -> Iterator[tuple[str, Any, Any]]:
    """The keyword-only parameters of a function: name, default, annotation."""
    names = _names(module)
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        if argument.arg in COMMON:
            continue
        if default is None or argument.annotation is None:
            raise ValueError(f"{module}.{function.name}: {argument.arg} needs a default and an annotation")
        yield argument.arg, _value(default, names), _value(argument.annotation, names)


def _ancestry(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """The class ``name`` as seen from ``module``, and its ancestors in this package, each with its module."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield module, node
            for base in node.bases:
                yield from _ancestry(module, ast.unparse(base))
        elif isinstance(node, ast.ImportFrom) and any(name == alias.name for alias in node.names):
            neighbor = _neighbor(node)
            if neighbor:
                yield from _ancestry(neighbor, name)


def _neighbor(node: ast.ImportFrom) -> str:
    """The module of this package that ``node`` imports from; empty for any other."""
    module = node.module or ""
    if node.level == 0 and module.startswith(f"{__package__}."):
        return module.removeprefix(f"{__package__}.")
    return module if node.level == 1 else ""


def _is_init(node: ast.stmt) -> typing.TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef) and node.name == "__init__"


def _class_attribute(classes: list[tuple[str, ast.ClassDef]], name: str) -> Any:
    for _, node in classes:
        for statement in node.body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
                return ast.literal_eval(statement.value)
    raise ValueError(f"no class sets {name}")


@cache
def _names(module: str) -> dict[str, Any]:
    """The names that defaults and annotations in ``module`` may use: types, ranges, constants and what they define."""
    builtins = {kind.__name__: kind for kind in (bool, int, float, str, list, tuple)}
    # From Python 3.13 on a TypeVar with a bound imports typing by it.
    names: dict[str, Any] = {"__builtins__": {**builtins, "__import__": __import__}}
    for node in _tree(module).body:
        if isinstance(node, ast.Import) and any(alias.name == "math" for alias in node.names):
            names["math"] = math
        elif isinstance(node, ast.ImportFrom) and node.module:
            if _neighbor(node):
                known = _names(_neighbor(node))
            elif node.module in ("typing", "seg_anl.records.ranges"):
                known = vars(import_module(node.module))
            else:
                continue
            names |= {alias.name: known[alias.name] for alias in node.names if alias.name in known}
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0])[0].isupper():
            try:
                names[ast.unparse(node.targets[0])] = _value(node.value, names)
            except NameError:  # needs a name from another package; no default may use it
                continue
    return names


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(node), "<declaration>", "eval"), names)
