"""What is said, in one line, of a command line that Hydra does not take; and what it takes."""

from pathlib import Path

import pytest

from seg_anl.engine.command import compose, hydra_command
from seg_anl.records import UserError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("loss=gcf", "loss=gcf: unknown loss 'gcf'; did you mean 'gce'?"),
        ("preset=anl204", "unknown preset 'anl204'; did you mean 'anl2024'"),
        ("loss.qq=1", "unknown setting 'loss.qq'; in loss, known: alpha, beta"),
        ("~loss", "loss cannot be removed; loss=NAME chooses another"),
        ("~noise=none", "noise cannot be removed"),
        ("~loss=anl_ce", "loss cannot be removed"),
        ("~model", "model cannot be removed"),
        ("loss@x=ce", "loss@x=ce: expected loss=ce"),
        ("loss@=ce", "loss@=ce: expected loss=ce"),
        ("+loss=ce", "expected loss=ce"),
        ("recipe/anl2024=cifar10", "unknown setting 'recipe/anl2024'"),
        ("=1", "cannot read '=1'; expected SETTING=VALUE"),
        ("loss=ce,gce", "several values need -m"),
        ("run_root=übung", """cannot read 'run_root=übung'; .* quotes inside quotes: 'run_root="übung"'"""),
        ("run_root=my|images", "cannot read 'images'; .* A value with a space needs quotes: 'run_root=my images'"),
    ],
)
def test_a_mistake_is_one_line(given: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compose("classification", given.split("|"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("--epochs 5", "epochs=5"),
        ("loss=gce --batch-size=8 -m", "batch_size=8"),
        ("-m --optim.lr loss=ce,gce", "optim.lr=VALUE"),
    ],
)
def test_a_setting_with_dashes_is_told_how_it_is_written(
    given: str, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["seg-anl-classify", *given.split()])
    with pytest.raises(SystemExit) as ended:
        hydra_command("seg-anl-classify", "classification", "", pytest.fail)
    assert ended.value.code == 2
    option = wanted.split("=")[0].replace("_", "-")
    said = f"seg-anl-classify: error: --{option}: settings are written without dashes; write {wanted}\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", ["my images (2), übung", 'a"b', "a'b=c", "x[1]{2}", "no"])
def test_a_path_that_exists_is_taken_as_it_stands(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    assert compose("classification", [f"run_root={folder}"]).run_root == str(folder)
    quoted = str(folder / "new").replace('"', '\\"')  # what a message proposes where nothing is there yet
    assert compose("classification", [f'run_root="{quoted}"']).run_root == str(folder / "new")
