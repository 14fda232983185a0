"""Clothing1M: a million pictures from shops, labeled by the words beside them, nearly 40 % wrongly."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from seg_anl.records import UserError

from .files import file_split, read_labeled, read_lines, refuse_missing, root_folder
from .split import Found, Split


def clothing1m(data: DictConfig) -> Found:
    """The published layout: lists of keys, labels by key, and ``images/0`` to ``images/9``.

    The lists stand in ``ROOT`` or in ``ROOT/annotations``; a key reads ``images/3/25/NAME.jpg``. Of the images with
    clean labels the 14313 for validation and the 10526 for testing are used, the 47570 for training are not: the
    validation images decide which epoch is best.

    Raises:
        UserError: a list or an image that is missing, or a key without a label.

    Reference: Xiao et al., Learning from Massive Noisy Labeled Data for Image Classification, CVPR 2015; the split as
    in Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017.
    """
    root = root_folder(data)
    lists = root if (root / "noisy_train_key_list.txt").is_file() else root / "annotations"
    noisy, clean = (dict(read_labeled(lists / f"{kind}_label_kv.txt")) for kind in ("noisy", "clean"))
    names = read_lines(lists / "category_names_eng.txt")
    return Found(
        _split(root, lists / "noisy_train_key_list.txt", noisy),
        {
            "validation": _split(root, lists / "clean_val_key_list.txt", clean),
            "test": _split(root, lists / "clean_test_key_list.txt", clean),
        },
        tuple(names),
        labels_are_clean=False,
        remark=f"Clothing1M in {root}",
    )


def _split(root: Path, key_list: Path, labels: dict[str, int]) -> Split:
    keys = read_lines(key_list)
    without = [key for key in keys if key not in labels]
    if without:
        raise UserError(f"{key_list}: no label for {without[0]} ({len(without)} of {len(keys)} keys)")
    paths = [root / key for key in keys]
    refuse_missing(paths, key_list)
    return file_split(paths, [labels[key] for key in keys])
