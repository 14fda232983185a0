"""Mask files of every format the commands know: finding them, loading them, and saving a changed mask the same way.

A format is one reader that returns the labels and a function that writes others instead. Palette, affine matrix,
header and voxel size are carried over untouched.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from seg_anl.records import UserError, item_id, written_aside

from .pairing import IGNORED_NAMES

_ONE_CHANNEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "F")


@dataclass(frozen=True)
class LoadedMask:
    """A mask and how to write another one to a file of the same kind.

    Attributes:
        array: the labels, as stored.
        spacing: mm per element along each axis of ``array``, where the file says so.
        save: writes an array of the same shape and dtype to a path of the same suffix, all else as in the source.
    """

    array: NDArray[Any]
    spacing: tuple[float, ...] | None
    save: Callable[[NDArray[Any], Path], None]


def mask_paths(root: Path, pattern: str = "*") -> list[Path]:
    """Every mask file below ``root`` whose name fits ``pattern``, sorted; links to folders are followed.

    Hidden files and the like are passed over. Folders may nest.

    Raises:
        UserError: ``root`` is no folder, holds no mask, a file of an unknown format, a folder linked into itself, or
            two files with the same id.
    """
    if not root.is_dir():
        raise UserError(f"{root} is not a folder")
    if not pattern:
        raise UserError("the pattern of names is empty; '*' takes all files")
    found: list[Path] = []
    _collect(root, (), pattern, found)
    if not found:
        among = "" if pattern == "*" else f" that fits {pattern!r}"
        raise UserError(f"no mask{among} in {root}; known formats: {' '.join(_READERS)}")
    by_id: dict[str, Path] = {}
    for path in sorted(found):
        earlier = by_id.setdefault(item_id(path, root), path)
        if earlier != path:
            same = item_id(path, root)
            raise UserError(
                f"{earlier} and {path} have the same id {same!r}: their noise would be the same; rename one"
            )
    return sorted(found)


def _collect(folder: Path, above: tuple[str, ...], pattern: str, found: list[Path]) -> None:
    resolved = os.path.realpath(folder)
    if resolved in above:
        raise UserError(f"{folder} is a link to a folder above it, a loop without end")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot list {folder}: {error.strerror}") from error
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name in IGNORED_NAMES:
            continue
        try:
            is_folder = entry.is_dir()
        except OSError as error:  # a link that names itself
            raise UserError(f"{path} is a link without end: {error.strerror}") from error
        if is_folder:
            _collect(path, (*above, resolved), pattern, found)
        elif path.match(pattern):
            if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # manifests need text
                raise UserError(f"{entry.name!a} in {str(folder)!a}: the name is not UTF-8; rename it")
            if mask_suffix(path) is None:
                known = " ".join(_READERS)
                raise UserError(
                    f"{path} is not a mask (known: {known}); move it away or choose files with --only '*.png'"
                )
            found.append(path)


def mask_suffix(path: Path) -> str | None:
    """The suffix by which the format of ``path`` is known, or None."""
    return next((suffix for suffix in _READERS if path.name.lower().endswith(suffix)), None)


def load_mask(path: Path) -> LoadedMask:
    """Read a mask.

    Raises:
        UserError: naming the file: not there, damaged, of an unknown format, or with more than one channel.
    """
    suffix = mask_suffix(path)
    if suffix is None:
        raise UserError(f"{path}: unknown format; known: {' '.join(_READERS)}")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file")
    try:
        return _READERS[suffix](path)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: too large for this machine's memory") from error
    except Exception as error:  # every library has its own errors for a damaged file
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be read as {suffix} ({reason})") from error


def save_mask(mask: LoadedMask, array: NDArray[Any], path: Path) -> None:
    """Write ``array`` to ``path`` in the format and with the header of ``mask``, whole or not at all.

    Raises:
        UserError: when it cannot be written, for instance because the disk is full.
    """
    try:
        with written_aside(path) as aside:
            mask.save(array, aside)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _read_picture(path: Path) -> LoadedMask:
    try:
        with Image.open(path) as picture:
            if picture.mode not in _ONE_CHANNEL_MODES:
                raise UserError(
                    f"{path} has {len(picture.getbands())} channels ({picture.mode}), a mask has one; "
                    "save its labels as a gray picture"
                )
            mode, kind, palette = picture.mode, picture.format, picture.getpalette() if picture.mode == "P" else None
            # Pillow turns a TIFF by its orientation when it reads it, a PNG not: there the tag has to stay.
            kept = ("compression", "dpi", "transparency", *(["exif"] if kind == "PNG" else []))
            info = {key: picture.info[key] for key in kept if key in picture.info}
            frames = [np.array(frame) for frame in ImageSequence.Iterator(picture)]
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a picture, or a damaged one") from error
    array = frames[0] if len(frames) == 1 else np.stack(frames)

    def save(changed: NDArray[Any], target: Path) -> None:
        pictures = [_picture(frame, mode, palette) for frame in (changed if len(frames) > 1 else changed[None])]
        more = {"save_all": True, "append_images": pictures[1:]} if len(pictures) > 1 else {}
        options = {**info, **more}
        if kind != "TIFF":
            options.pop("compression", None)
        pictures[0].save(target, format=kind, **options)

    return LoadedMask(array, None, save)


def _picture(frame: NDArray[Any], mode: str, palette: list[int] | None) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(frame))
    if palette is not None:
        picture = Image.fromarray(np.ascontiguousarray(frame), mode="L")
        picture.putpalette(palette)
    if picture.mode != mode and mode in ("1", "I"):
        picture = picture.convert(mode)
    return picture


def _read_npy(path: Path) -> LoadedMask:
    array = np.load(path, allow_pickle=False)

    def save(changed: NDArray[Any], target: Path) -> None:
        with open(target, "wb") as file:  # by name, numpy would add a second suffix to odd names
            np.save(file, changed, allow_pickle=False)

    return LoadedMask(array, None, save)


def _read_nifti(path: Path) -> LoadedMask:
    import nibabel  # only NIfTI files need it

    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise UserError(f"{path}: not a NIfTI file but {type(image).__name__}")
    proxy: Any = image.dataobj
    scaled = not (np.isnan(proxy.slope) or (proxy.slope == 1 and proxy.inter == 0))
    stored = np.dtype(image.get_data_dtype())
    array = np.asarray(proxy if scaled else proxy.get_unscaled())
    if scaled:
        _check_background(path, stored, proxy.slope, proxy.inter)

    def save(changed: NDArray[Any], target: Path) -> None:
        # Without an affine of its own the copy leaves the header's as they are: qform, sform, codes, even damaged ones.
        copy = type(image)(changed, None, image.header.copy())
        if scaled:  # the stored numbers under the same scaling: the labels themselves may not fit the stored type
            raw = (changed - proxy.inter) / proxy.slope
            copy = type(image)((np.rint(raw) if stored.kind in "iu" else raw).astype(stored), None, image.header.copy())
            copy.header.set_slope_inter(proxy.slope, proxy.inter)
        copy.set_data_dtype(stored)
        nibabel.save(copy, target)

    return LoadedMask(array, _millimeters(image, array.ndim), save)


def _check_background(path: Path, stored: np.dtype[Any], slope: float, inter: float) -> None:
    """Refuse a scaling under which no stored number means 0: that is what a label gives up."""
    zero = -inter / slope
    if stored.kind in "iu" and not (np.iinfo(stored).min <= zero <= np.iinfo(stored).max and zero == round(zero)):
        raise UserError(
            f"{path}: its {stored} numbers, scaled by {slope:g} and shifted by {inter:g}, cannot be 0, which is "
            "background; save the labels unscaled"
        )


def _millimeters(image: Any, dimensions: int) -> tuple[float, ...] | None:
    zooms = [float(zoom) for zoom in image.header.get_zooms()[:dimensions]]
    in_mm = {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)
    return tuple(zoom * in_mm for zoom in zooms) if all(0 < zoom < np.inf for zoom in zooms) else None


def _read_with_simpleitk(path: Path) -> LoadedMask:
    try:
        import SimpleITK
    except ImportError as error:
        raise UserError(f"{path}: this format needs SimpleITK: pip install SimpleITK") from error
    image = SimpleITK.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"{path} has {image.GetNumberOfComponentsPerPixel()} channels, a mask has one")
    array = SimpleITK.GetArrayFromImage(image)

    def save(changed: NDArray[Any], target: Path) -> None:
        copy = SimpleITK.GetImageFromArray(changed)
        copy.CopyInformation(image)
        for key in image.GetMetaDataKeys():
            copy.SetMetaData(key, image.GetMetaData(key))
        SimpleITK.WriteImage(copy, str(target), useCompression=True)

    return LoadedMask(array, tuple(reversed(image.GetSpacing())), save)


_READERS: dict[str, Callable[[Path], LoadedMask]] = {
    ".png": _read_picture,
    ".tif": _read_picture,
    ".tiff": _read_picture,
    ".bmp": _read_picture,
    ".npy": _read_npy,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".nrrd": _read_with_simpleitk,
    ".mha": _read_with_simpleitk,
}
