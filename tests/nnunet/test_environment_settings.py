import pytest

from seg_anl.nnunet.environment_settings import (
    TrainChoice,
    chosen_loss,
    chosen_training,
    loss_choice,
    refuse_unknown_variables,
    variant_suffix,
)
from seg_anl.records import UserError

ANLCE = loss_choice("anl_ce")


def test_values_are_parsed_as_yaml():
    choice = chosen_loss("anl_ce alpha=10 p_min=1e-5 exact_official=false dice_weight=.5", "T", ANLCE)
    assert choice.parameters == {"alpha": 10, "beta": 5.0, "p_min": 1e-5, "exact_official": False}
    assert choice.dice_weight == 0.5


def test_name_is_optional_for_a_trainer_with_its_own_loss():
    assert chosen_loss("alpha=10", "T", ANLCE) == chosen_loss("anl_ce alpha=10", "T", ANLCE)
    assert chosen_loss(None, "T", ANLCE) == chosen_loss("  ", "T", ANLCE) == ANLCE


def test_matrix_from_yaml_or_from_the_variable(tmp_path):
    path = tmp_path / "forward.yaml"
    path.write_text("name: forward\ntransition: [[0.8, 0.2], [0.1, 0.9]]\n")
    choice = chosen_loss(str(path), "nnUNetTrainerRobust", None)
    assert choice.parameters == {"transition": [[0.8, 0.2], [0.1, 0.9]]}
    assert chosen_loss("forward transition=[[0.8,0.2],[0.1,0.9]]", "nnUNetTrainerRobust", None) == choice
    suffix = variant_suffix(None, choice, TrainChoice())
    assert suffix.startswith("-forward-transition=")
    assert suffix.replace("-", "").replace("=", "").isalnum()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anl_ce alpah=10", "did you mean 'alpha'"),
        ("anl_ce alpha=-1", "alpha must be a number >= 0 and <= 1e+12, got -1"),
        ("anl_ce alpha=nan", "got 'nan'"),
        ("anl_ce alpha=1 alpha=2", "alpha is given twice"),
        ("anl_ce alpha", "cannot parse 'alpha'; expected KEY=VALUE"),
        ("gce q=0.5", "names 'gce', but T trains 'anl_ce'"),
        ("anl_ce dice_weight=-1", "dice_weight must be a number >= 0"),
        ("missing.yaml", "No such file"),
        ("anl_ce 'alpha=1", "cannot be parsed"),
    ],
)
def test_bad_loss_is_one_line(text, message):
    with pytest.raises(UserError, match="SEG_ANL_LOSS") as caught:
        chosen_loss(text, "T", ANLCE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_misspelled_variables_are_refused():
    refuse_unknown_variables({"SEG_ANL_SOFT": "soft", "SEG_ANL_WEIGHTS": "w.csv", "HOME": "/"})
    with pytest.raises(UserError, match="SEG_ANL_WEIGHT; did you mean 'SEG_ANL_WEIGHTS'"):
        refuse_unknown_variables({"SEG_ANL_WEIGHT": "w.csv"})


@pytest.mark.parametrize("content", ["[1, 2]", "name: [", "name: ${missing}", "q: ???", "\x00"])
def test_bad_yaml_file_is_one_line(tmp_path, content):
    path = tmp_path / "loss.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        chosen_loss(str(path), "nnUNetTrainerRobust", None)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_trainer_of_any_loss_needs_a_name():
    with pytest.raises(UserError, match="nnUNetTrainerRobust needs the environment variable SEG_ANL_LOSS"):
        chosen_loss(None, "nnUNetTrainerRobust", None)
    with pytest.raises(UserError, match="the name of the loss is missing"):
        chosen_loss("q=0.5", "nnUNetTrainerRobust", None)
    with pytest.raises(UserError, match="did you mean 'gce'"):
        chosen_loss("gcee", "nnUNetTrainerRobust", None)


def test_training_settings():
    assert chosen_training("epochs=3 seed=0") == TrainChoice(epochs=3, seed=0)
    assert chosen_training(None) == chosen_training("") == TrainChoice()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=0", ">= 1"),
        ("epochs=1.5", "1.5"),
        ("seed=-1", ">= 0"),
        ("x", "x"),
    ],
)
def test_bad_training_settings_are_one_line(text, message):
    with pytest.raises(UserError, match=message):
        chosen_training(text)


def test_folder_name_shows_only_nondefault_settings():
    def suffix(text: str) -> str:
        return variant_suffix(ANLCE, chosen_loss(text, "T", ANLCE), TrainChoice(seed=2))

    assert suffix("anl_ce alpha=5 beta=5.0") == "-seed=2"
    assert suffix("anl_ce beta=1 alpha=10") == suffix("anl_ce alpha=10 beta=1") == "-alpha=10-beta=1-seed=2"
    assert suffix("anl_ce dice_weight=1") == "-dice_weight=1-seed=2"


def test_equal_numbers_give_the_same_folder():
    folders = {
        variant_suffix(ANLCE, chosen_loss(f"alpha={value}", "T", ANLCE), TrainChoice())
        for value in ("10", "10.0", "1e1")
    }
    assert len(folders) == 1
