"""Recipe files: how entries are laid over each other, and what is said of a file that is wrong."""

from pathlib import Path

import pytest

from seg_anl.records import UserError
from seg_anl.records.recipes import Recipe, load_recipe, read_recipes, recipes_of

HEAD = "title: A paper\nsource: Section 1\n"


def read(folder: Path, **files: str) -> dict[str, Recipe]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return read_recipes(folder)


def test_the_more_particular_entry_prevails(tmp_path: Path) -> None:
    text = """
    runs: 3
    data:
      first:
        settings: {epochs: 1e2, optim: {lr: 0.1, l1: 0.0}}
        assumed: {epochs optim.lr: nobody says}
        noise: {symmetric: {counts: class}}
        losses:
          gce sce: {q: 0.5, settings: {optim: {l1: 1e-3}}, assumed: {q: a guess}, noise: {symmetric: {q: 0.9}}}
      second:
        like: first
        settings: {optim: {lr: 0.2}}
    presets:
      other: {source: Table 2, data: {first: {like: paper/second, settings: {epochs: 5}}}}
    """
    recipes = read(tmp_path, paper=HEAD + text.replace("\n    ", "\n"))
    paper, other = recipes["paper"], recipes["other"]
    assert paper.settings("first") == {"epochs": 100, "optim": {"lr": 0.1, "l1": 0.0}}
    assert paper.settings("first", "symmetric")["noise"] == {"counts": "class"}
    of_loss = {"loss": {"q": 0.5}, "optim": {"lr": 0.1, "l1": 1e-3}, "epochs": 100}
    assert paper.settings("first", "none", "gce") == paper.settings("first", None, "sce") == of_loss
    assert paper.settings("first", "symmetric", "gce")["loss"] == {"q": 0.9}
    # A section that is like another one has its settings, neither its noise nor its losses.
    assert paper.settings("second", "symmetric", "gce") == {"epochs": 100, "optim": {"lr": 0.2, "l1": 0.0}}
    assert paper.assumed("first", None, "gce") == {
        "epochs": "nobody says",
        "optim.lr": "nobody says",
        "loss.q": "a guess",
    }
    assert paper.assumed("second") == {"epochs": "nobody says"}  # the rate is its own
    assert other.settings("first") == {"epochs": 5, "optim": {"lr": 0.2, "l1": 0.0}}
    assert (other.paper, other.title, other.runs, other.assumed("first")) == ("paper", "A paper", 3, {})


def test_presets_of_one_paper() -> None:
    assert [recipe.name for recipe in recipes_of("sr2021")] == ["sr2021", "sr2021_imbalance"]
    assert {recipe.name for recipe in recipes_of("anl2024")} == {"anl2024", "anl2023", "isic2017"}
    assert load_recipe("sr2021_imbalance").imbalanced
    with pytest.raises(UserError, match="unknown preset 'anl204'; did you mean 'anl2024'"):
        load_recipe("anl204")
    with pytest.raises(
        UserError, match="preset=alf2021 has no settings for data=digits; it has them for mnist, cifar10"
    ):
        load_recipe("alf2021").settings("digits")


def test_a_bad_file_is_one_clear_line(tmp_path: Path) -> None:
    for text, message in (
        ("source: x", "bad.yaml: title is needed"),
        (HEAD + "runs: three", "bad.yaml: runs must be a whole number > 0, got 'three'"),
        (HEAD + "dat: {}", "bad.yaml: dat: no such entry; did you mean 'data'"),
        (HEAD + "data: {a: {setings: {}}}", "bad.yaml: a: setings: no such entry; did you mean 'settings'"),
        (HEAD + "data: [a]", "bad.yaml: data: expected names with their values"),
        (HEAD + "data: {a: {losses: {gce: 0.7}}}", "bad.yaml: a: losses: gce: expected settings, got 0.7"),
        (HEAD + "data: {a: {losses: {gce ce: {}, ce: {}}}}", "bad.yaml: a: losses: ce appears twice"),
        (HEAD + "data: {a: {settings: {epochs: 1, epochs: 2}}}", "bad.yaml: epochs appears twice"),
        (HEAD + "data: {a: {assumed: {epochs: 3}}}", "assumed: epochs: expected the reason, in words, got 3"),
        (HEAD + "data: {a: {like: b}}", "bad.yaml: a: like: there is no b/a"),
        (HEAD + "data: {a: {like: b/c/d}}", "bad.yaml: a: like: there is no b/c/d"),
        (HEAD + "data: {a: {like: b}, b: {like: a}}", "like: bad/a is like bad/b is like bad/a"),
        (HEAD + "presets: {bad: {source: x}}", "bad.yaml: there are two presets called bad"),
        ("title: [", "bad.yaml: "),
        ("- a", "bad.yaml: expected a recipe"),
    ):
        with pytest.raises(UserError) as caught:
            read(tmp_path, bad=text)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
