"""Our averages with the published numbers: matching, comparison and missing runs."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from seg_anl.records import UserError
from seg_anl.reporting.names import loss_titles
from seg_anl.reporting.palette import NIGHT, PAPER, method_color
from seg_anl.reporting.published import list_tables, names_dataset, published_numbers, read_table
from seg_anl.reporting.tables import t_test

PROTOCOL = {  # of 002, Section VI-B, as far as the report compares it
    "epochs": 100,
    "batch_size": 16,
    "data": {"name": "isic2017", "root": "ISIC", "size": 256},
    "model": {"name": "nnunet"},
    "optim": {"name": "adam", "lr": 0.001},
    "preset": "isic2017",
}


def _entries(table, noise="symmetric 0.4"):
    return {entry.label: entry for entry in table.rows() if entry.noise == noise}


def _entry(table, label):
    return _entries(table, "α 0.7, β 0.7")[label]


def test_difference_from_the_paper_in_standard_errors(write_run, report_of):
    # ANL-CE at alpha = beta = 0.7 is published as 77.3 +- 0.4 over 3 runs (002, Table VI).
    for seed, dice in ((1, 0.77), (2, 0.79)):
        write_run(f"s{seed}", [0.1, dice], metric="dice", seed=seed, loss={"name": "anl_ce"})
    write_run("one", [0.1, 0.79], metric="dice", loss={"name": "gce"})
    (table,) = report_of().tables
    assert table.published.id == "ISIC-VI"
    entry = _entry(table, "ANL-CE")
    assert (entry.mean, entry.std) == (pytest.approx(78.0), pytest.approx(math.sqrt(2.0)))
    assert (entry.published_mean, entry.published_std, entry.published_runs) == (77.3, 0.4, 3)
    assert entry.difference == pytest.approx(0.7)
    assert entry.t == pytest.approx(0.7 / math.sqrt(2.0 / 2 + 0.16 / 3))
    assert entry.departures  # of another protocol, and therefore not tested
    assert (entry.errors, entry.p) == ("other protocol", None)
    one = _entry(table, "GCE")  # published: 69.1
    assert (one.difference, one.t) == (pytest.approx(9.9), None)


def test_runs_with_the_published_protocol_are_tested(write_run, report_of, monkeypatch):
    monkeypatch.setattr("seg_anl.reporting.tables.departures", lambda *_: ())
    for seed, dice in ((1, 0.77), (2, 0.79)):
        write_run(f"s{seed}", [0.1, dice], metric="dice", seed=seed, loss={"name": "anl_ce"})
    entry = _entry(report_of().tables[0], "ANL-CE")
    assert entry.errors == "+0.7 (p = 0.61)"
    assert entry.p == pytest.approx(
        stats.ttest_ind_from_stats(78.0, math.sqrt(2.0), 2, 77.3, 0.4, 3, equal_var=False).pvalue, rel=1e-9
    )


def test_exact_mean_uses_the_one_sample_test():
    values = [76.0, 78.0, 77.5]
    ours = (np.mean(values), np.std(values, ddof=1), 3)
    assert t_test(*ours, 70.0, 0.4, math.nan) == pytest.approx(stats.ttest_1samp(values, 70.0))


def _luminance(color):
    coded = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


def test_method_colors_are_fixed_distinct_and_legible():
    colors = [method_color({"loss": {"name": name}}) for name in loss_titles() if not name.startswith("active_")]
    colors += [method_color({"loss": {"name": "ce"}, "method": {"name": name}}) for name in ("co_teaching", "d2l")]
    for some, background in (({color.light for color in colors}, PAPER), ({color.dark for color in colors}, NIGHT)):
        assert len(some) == len(colors) > 40
        for color in some:  # WCAG 2.2, level AA
            low, high = sorted((_luminance(color), _luminance(background)))
            assert (high + 0.05) / (low + 0.05) >= 4.5


def test_departures_from_the_protocol_are_listed(write_run, report_of):
    settings = {**PROTOCOL, "metric": "dice", "loss": {"name": "gce"}, "k": 10}
    corrected = {"alpha": 0.7, "beta": 0.7, "mode": "corrected", "seed": 0}
    one_by_one = {
        "": {},
        "epochs 12 (published: 100)": {"values": [0.7] * 12, "epochs": 12},
        "image size 64 (published: 256)": {"data": {**PROTOCOL["data"], "size": 64}},
        "patch size 64, 64 (published: 256, 256)": {"model": {"name": "nnunet", "patch_size": [64, 64]}},
        "network dynunet (published: nnunet)": {"model": {"name": "dynunet"}},
        "noise mode corrected (published: official)": {"noise": corrected},
        "preset small (published: isic2017)": {"preset": "small"},
    }
    images = {"training images 50000 (published: 2000)", "test images 10000 (published: 600)"}
    for number, (name, departing) in enumerate(one_by_one.items()):
        folder = write_run(f"b{number}", **{"values": [0.7] * 100, **settings, **departing})
        (table,) = report_of(places=[folder]).tables
        entry = _entry(table, "GCE")
        assert {*entry.departures} == images | ({name} - {""})
        assert entry.mark == "a"


def test_imbalanced_run_matches_the_published_one(write_run, report_of):
    data = {"name": "cifar10", "imbalance": "step", "imbalance_ratio": 0.1, "limit": None}
    settings = {"data": data, "noise": {"kind": "none"}, "loss": {"name": "ce"}, "preset": "sr2021_imbalance"}
    path = write_run("run", [0.7] * 120, **settings) / "summary.json"
    summary = json.loads(path.read_text())
    summary["counts"]["train"] = 27500
    path.write_text(json.dumps(summary))
    (table,) = report_of("cifar10-sr-5").tables
    entry = _entries(table, "clean, step imbalance 0.1")["CE"]
    assert (entry.published_mean, entry.departures) == (79.35, ())


def test_part_of_cifar10_is_compared_with_a_mark(write_run, report_of):
    data = {"name": "arrays", "file": "somewhere/cifar10.npz", "limit": 4000}
    write_run("s", [0.1, 0.5], data=data, loss={"name": "anl_ce"}, preset="anl2024")
    (table,) = report_of("cifar10-ii").tables
    entry = _entries(table)["ANL-CE"]
    assert entry.published_mean == 87.28
    assert [departure.split()[0] for departure in entry.departures] == ["data", "epochs"]


def test_best_excludes_single_seeds(write_run, report_of):
    for seed in (1, 2):
        write_run(f"ce{seed}", [0.1, 0.6], seed=seed)
        write_run(f"gce{seed}", [0.1, 0.7], seed=seed, loss={"name": "gce"})
    write_run("mae", [0.1, 0.9], loss={"name": "mae"})
    (table,) = report_of().tables
    assert [name for name, entry in _entries(table).items() if entry.best] == ["GCE"]


def test_missing_cells_of_a_requested_table_are_listed(write_run, report_of):
    write_run("ce", loss={"name": "ce"})
    (table,) = report_of("CIFAR10-II").tables
    assert (len(table.columns), len(table.missing)) == (10, 119)
    assert ("CE", "symmetric 0.4") not in table.missing
    assert {("CE", "clean"), ("ANL-CE*", "human, worst")} <= set(table.missing)


def test_unpublished_noise_gets_a_column_after_the_published_ones(write_run, report_of):
    write_run("a", noise={"kind": "pair_flip", "rate": 0.2})
    write_run("b", noise={"kind": "symmetric", "rate": 0.8})
    (table,) = report_of().tables
    assert table.columns == ("symmetric 0.8", "pair flip 0.2")


def test_preset_selects_the_paper_to_compare_with(write_run, report_of):
    write_run("apl", loss={"name": "nce_rce"}, preset="apl2020")
    (table,) = report_of().tables
    assert table.published.id == "CIFAR10-APL-2"
    assert "CIFAR10-II" in dict(table.others)


def test_networks_distinguish_published_numbers(write_run, report_of):
    for model, value in (("resnet50", 76.80), ("resnet101", 77.98)):  # 001, Table 2, CE
        data = {"name": "imagenet", "root": "x"}
        folder = write_run(model, data=data, noise={"kind": "none"}, model={"name": model})
        ((entry,),) = [table.rows(run=True) for table in report_of(places=[folder]).tables]
        assert entry.published_mean == value


def test_rows_with_different_settings_are_reported(write_run, report_of):
    for seed in (1, 2):
        write_run(f"ce{seed}", [0.1, 0.6], seed=seed)
        write_run(f"gce{seed}", [0.1, 0.2, 0.7], seed=seed, loss={"name": "gce"})
    (notice,) = report_of().warnings
    assert notice.kind == "unlike rows"
    assert "epochs 2 (CE), 3 (GCE)" in notice.text


def test_nnunet_trainers_may_differ_but_not_their_epoch_length(write_run, report_of, tmp_path):
    for loss, iterations in (("CE", 30), ("GCE", 30), ("MAE", 60)):
        for seed in (1, 2):
            model = {"name": "nnunet", "trainer": f"nnUNetTrainer{loss}", "patch_size": [64, 64], "batch_size": 4}
            settings = {"loss": {"name": loss.lower()}, "model": model, "iterations": iterations, "seed": seed}
            write_run(f"{iterations}/{loss}{seed}", [0.1, 0.6], metric="dice", **settings)
    alike = report_of(places=[tmp_path / "30"])
    assert alike.warnings == []
    common, own = alike.tables[0].settings
    assert "model.patch_size 64, 64, epochs 2, iterations 30, batch_size 128, model.batch_size 4" in common
    assert own["model.trainer"] == "nnUNetTrainerCE (CE); nnUNetTrainerGCE (GCE)"
    (notice,) = report_of().warnings
    assert notice.text.endswith("rows differ in iterations 30 (CE, GCE), 60 (MAE)")


def test_runs_on_other_data_are_reported(write_run, report_of):
    write_run("a")
    other = write_run("b", data={"name": "mnist", "root": "x"})
    (elsewhere,) = [notice for notice in report_of("CIFAR10-II").not_averaged if notice.kind == "elsewhere"]
    assert elsewhere.paths == (str(other),)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("ISIC-VI", r"ISIC-VI is about dice on isic2017.*there are runs on cifar10"),
        ("CIFAR10-IX", r"did you mean .*'CIFAR10-II'"),
        ("CIFAR10-VIII", "parameters instead of results"),
    ],
)
def test_table_without_runs_or_results_is_a_user_error(write_run, report_of, table, words):
    write_run("a")
    with pytest.raises(UserError, match=words):
        report_of(table)


def test_published_numbers_have_unique_places():
    for table in list_tables():
        numbers = [cell for cell in read_table(table.id) if cell.metric == table.metric and cell.loss]
        assert len(published_numbers(table)) == len(numbers)
        assert table.kind != "results" or numbers


@pytest.mark.parametrize(
    ("data", "dataset", "fits"),
    [
        ("cifar10", "cifar10", True),
        ("cifar100", "cifar10", False),
        ("data/cifar-10.npz", "cifar10", True),
        ("cifar100", "cifar100", True),
        ("fashion_mnist", "mnist", False),
        ("mnist", "mnist", True),
        ("cifar10/digits/mine.npz", "cifar10", False),
        ("folder ISIC", "isic2017", True),
        ("ISIC-2018", "isic2017", False),
    ],
)
def test_data_sets_are_recognized_by_name(data, dataset, fits):
    assert names_dataset(data, dataset) is fits


def test_own_data_matches_by_path_or_if_requested(write_run, report_of):
    settings = {"metric": "dice", "loss": {"name": "gce"}}
    known = write_run("known", data={"name": "folder", "root": "ISIC2017/images"}, **settings)
    unknown = write_run("unknown", data={"name": "folder", "root": "lesions"}, **settings)
    assert [table.published.id for table in report_of(places=[known]).tables] == ["ISIC-VI"]
    assert [table.published for table in report_of(places=[unknown]).tables] == [None]
    (table,) = report_of("ISIC-VI", places=[unknown]).tables
    said = _entry(table, "GCE").departures
    assert "data folder lesions (published: isic2017)" in said
    write_run("a", data={"name": "arrays", "file": "photos.npz"})
    write_run("b", data={"name": "arrays", "file": "cifar100.npz"})  # known to be other data
    assert [table.data for table in report_of("CIFAR10-II").tables] == ["arrays photos.npz"]


def test_tables_of_similar_names_have_files_of_their_own(write_run, report_of):
    for data in ("a b", "a_b", "a b 2"):
        write_run(data, data={"name": data})
    assert len({table.name for table in report_of().tables}) == 3
