"""Find, load and save mask files of every known format; palette, header, geometry and orientation are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from seg_anl.records import UserError, item_id, written_aside
from seg_anl.records.array_files import read_array
from seg_anl.records.errors import reason_of
from seg_anl.records.files import check_folder, files_below
from seg_anl.records.foreign_files import check_regular
from seg_anl.records.manifest import MANIFEST, MANIFEST_TABLE, PREVIEW

from .pairing import files_by_item
from .pictures import opened

_LOSSY = ("jpeg", "tiff_jpeg", "webp")  # compressions of TIFF that change labels


class LoadedMask(NamedTuple):
    """A mask and how to write another one to a file of the same kind.

    ``save`` writes an array of the same shape and dtype to a path of the same suffix.
    """

    array: NDArray[Any]  # as stored
    spacing: tuple[float, ...] | None  # mm per element along each axis, if the file says so
    save: Callable[[NDArray[Any], Path], None]
    geometry: tuple[float, ...] = ()  # NIfTI's affine matrix, or SimpleITK's origin, spacing and direction


def mask_paths(root: Path, pattern: str = "*") -> list[Path]:
    """Every mask file below ``root`` whose name matches ``pattern``, sorted; manifest and preview of noise are skipped.

    Raises:
        UserError: no such folder, no mask in it, a file of an unknown format, or two files with the same id.
    """
    check_folder(root)
    if not pattern:
        raise UserError("the pattern of names is empty; '*' matches all files")
    noise = (root / MANIFEST).is_file()  # the folder is the output of seg-anl-noise
    ours = {root / name for name in (MANIFEST, MANIFEST_TABLE, PREVIEW)} if noise else set()
    found = [path for path in files_below(root) if path.match(pattern) and path not in ours]
    if not found:
        matching = "" if pattern == "*" else f" that matches {pattern!r}"
        raise UserError(f"no mask{matching} in {root}; known formats: {' '.join(_READERS)}")
    for path in found:
        if mask_suffix(path) is None:
            known = " ".join(_READERS)
            raise UserError(f"{path} is not a mask (known: {known}); move it away or choose files with --only '*.png'")
    return list(files_by_item(found, lambda path: item_id(path, root)).values())


def mask_suffix(path: Path) -> str | None:
    """The suffix of a known format, or None."""
    return next((suffix for suffix in _READERS if path.name.lower().endswith(suffix)), None)


def load_mask(path: Path) -> LoadedMask:
    """Read a mask.

    Raises:
        UserError: a file that is missing, damaged, of an unknown format, or has more than one channel.
    """
    suffix = mask_suffix(path)
    if suffix is None:
        raise UserError(f"{path}: unknown format; known: {' '.join(_READERS)}")
    check_regular(path)
    with reading(path, suffix):
        return _READERS[suffix](path)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn what a library raises for a damaged file into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path}: too large for this machine's memory") from error
    except Exception as error:  # every library has its own errors for a damaged file
        raise UserError(f"{path}: cannot be read as {kind.strip('.')}: {reason_of(error, -1)}") from error


def load_nifti(path: Path) -> Any:
    """nibabel's image; other formats of nibabel are refused."""
    import nibabel  # only NIfTI files need it

    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Pair):
        raise UserError(f"{path}: not a NIfTI file but {type(image).__name__}")
    return image


def simpleitk(path: Path) -> Any:
    """SimpleITK without its warnings, for reading ``path``."""
    try:
        import SimpleITK
    except ImportError as error:
        raise UserError(f"{path}: this format needs SimpleITK: pip install SimpleITK") from error
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    return SimpleITK


def save_mask(mask: LoadedMask, array: NDArray[Any], path: Path) -> None:
    """Write ``array`` atomically to ``path``, in the format and with the header of ``mask``."""
    with written_aside(path) as aside:
        mask.save(array, aside)


def _read_picture(path: Path) -> LoadedMask:
    with opened(path, str(path), ("PNG", "TIFF", "BMP"), stacks=True) as picture:
        mode, kind, palette = picture.mode, picture.format, picture.getpalette() if picture.mode == "P" else None
        if len(picture.getbands()) > 1:
            raise UserError(
                f"{path} has {len(picture.getbands())} channels ({mode}), a mask has one; "
                "save its labels as a gray picture"
            )
        # Pillow applies the orientation of a TIFF when it reads it, but not that of a PNG: only there the tag stays.
        kept = {"TIFF": ("compression", "dpi"), "PNG": ("dpi", "transparency", "exif")}.get(kind or "", ("dpi",))
        info = {key: picture.info[key] for key in kept if key in picture.info}
        frames = [_array(frame) for frame in ImageSequence.Iterator(picture)]
        if info.get("compression") in _LOSSY:
            info["compression"] = "tiff_lzw"

    def save(changed: NDArray[Any], target: Path) -> None:
        first, *more = (_picture(frame, mode, palette) for frame in changed.reshape(-1, *frames[0].shape))
        stack = {"save_all": True, "append_images": more} if more else {}
        first.save(target, format=kind, **info, **stack)

    return LoadedMask(np.stack(frames) if len(frames) > 1 else frames[0], None, save)


def _array(frame: Image.Image) -> NDArray[Any]:
    # Pillow makes Booleans of the byte 255, which compare well but have other digests.
    return np.array(frame.convert("L")) > 0 if frame.mode == "1" else np.array(frame)


def _picture(frame: NDArray[Any], mode: str, palette: list[int] | None) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(frame))
    if palette is not None:
        picture.putpalette(palette)
    return picture.convert(mode) if picture.mode != mode and mode in ("1", "I") else picture


def _read_npy(path: Path) -> LoadedMask:
    def save(changed: NDArray[Any], target: Path) -> None:
        with open(target, "wb") as file:  # given a name, NumPy could add a suffix
            np.save(file, changed, allow_pickle=False)

    return LoadedMask(read_array(path), None, save)


def unit_in_mm(image: Any) -> float:
    """The unit of a NIfTI header's spacing and affine, in mm."""
    return {"meter": 1000.0, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1.0)


def _read_nifti(path: Path) -> LoadedMask:
    image = load_nifti(path)
    proxy = image.dataobj
    scaled = not (np.isnan(proxy.slope) or (proxy.slope == 1 and proxy.inter == 0))
    stored = np.dtype(image.get_data_dtype())
    array = np.asarray(proxy if scaled else proxy.get_unscaled())
    zero = -proxy.inter / proxy.slope if scaled else 0
    # Pixels that a label loses become 0, so a stored number must mean 0.
    if stored.kind in "iu" and not (np.iinfo(stored).min <= zero <= np.iinfo(stored).max and zero == round(zero)):
        raise UserError(
            f"{path}: its {stored} numbers, scaled by {proxy.slope:g} and shifted by {proxy.inter:g}, cannot be 0, "
            "the background; save the labels unscaled"
        )

    def save(changed: NDArray[Any], target: Path) -> None:
        if scaled:  # the labels themselves may not fit the stored type
            raw = (changed - proxy.inter) / proxy.slope
            changed = (np.rint(raw) if stored.kind in "iu" else raw).astype(stored)
        # Without an affine nibabel keeps the header's qform, sform and codes, even damaged ones.
        copy = type(image)(changed, None, image.header.copy())
        if scaled:
            copy.header.set_slope_inter(proxy.slope, proxy.inter)
        copy.set_data_dtype(stored)
        copy.to_filename(target)

    # Of an axis of length one, such as time, some programs write 0.
    given = zip(map(float, image.header.get_zooms()), array.shape, strict=False)
    zooms = [1.0 if zoom == 0 and length == 1 else zoom for zoom, length in given]
    known = all(0 < zoom < np.inf for zoom in zooms)
    spacing = tuple(zoom * unit_in_mm(image) for zoom in zooms) if known else None
    return LoadedMask(array, spacing, save, tuple(map(float, image.affine.flat)))


def _read_with_simpleitk(path: Path) -> LoadedMask:
    library = simpleitk(path)
    image = library.ReadImage(str(path))
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise UserError(f"{path} has {image.GetNumberOfComponentsPerPixel()} channels, a mask has one")

    def save(changed: NDArray[Any], target: Path) -> None:
        copy = library.GetImageFromArray(changed)
        copy.CopyInformation(image)
        for key in image.GetMetaDataKeys():
            copy.SetMetaData(key, image.GetMetaData(key))
        library.WriteImage(copy, str(target), useCompression=True)

    geometry = (*image.GetOrigin(), *image.GetSpacing(), *image.GetDirection())
    return LoadedMask(library.GetArrayFromImage(image), tuple(reversed(image.GetSpacing())), save, geometry)


_READERS: dict[str, Callable[[Path], LoadedMask]] = {
    **dict.fromkeys((".png", ".tif", ".tiff", ".bmp"), _read_picture),
    ".npy": _read_npy,
    **dict.fromkeys((".nii", ".nii.gz"), _read_nifti),
    **dict.fromkeys((".nrrd", ".mha"), _read_with_simpleitk),
}
