"""Read volumes and pictures with their affine matrix, and write label maps in their format and geometry.

nibabel reads NIfTI, SimpleITK reads NRRD, MetaImage and DICOM series, OpenCV pictures of 8 or 16 bits. An affine maps
voxels to mm in RAS+ coordinates.
"""

from __future__ import annotations

import locale
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data_prep.mask_files import load_nifti, reading, simpleitk, unit_in_mm
from seg_anl.records import UserError, make_directory, written_aside
from seg_anl.records.errors import cannot_write
from seg_anl.records.foreign_files import check_regular

Affine = NDArray[np.float64]
NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".mha", ".mhd")
PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
SUFFIXES = (*NIFTI, *ITK, *PICTURES)
# Lossy, or in several files, which could not be written whole or not at all.
_WRITTEN_AS = {"dicom": ".nii.gz", ".jpg": ".png", ".jpeg": ".png", ".mhd": ".mha"}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def suffix_of(path: Path) -> str | None:
    """The suffix of a known format, ``"dicom"`` for a folder with a series, or None."""
    if path.is_dir():
        return "dicom" if any(entry.name.lower().endswith(".dcm") for entry in os.scandir(path)) else None
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def files_of(path: Path) -> list[Path]:
    """The files that hold an image: the slices of a DICOM series, the header and the data of an ``.mhd``."""
    if path.is_dir():
        return sorted(path.iterdir())
    data = (path.with_suffix(suffix) for suffix in (".raw", ".zraw")) if path.suffix.lower() == ".mhd" else ()
    return [path, *filter(Path.exists, data)]


def read_volume(path: Path, *, mask: bool = False) -> tuple[NDArray[Any], Affine]:
    """Values ``(C, X, Y, Z)`` as stored, of pictures ``(C, H, W, 1)``, and the affine (4, 4).

    A picture with a palette has colors, but as a ``mask`` the palette's indices are its labels.
    """
    suffix = suffix_of(path)
    if suffix != "dicom":
        check_regular(path)
    if suffix is None:
        raise UserError(f"{path}: unknown format; known: {' '.join(SUFFIXES)} and folders of .dcm files")
    with reading(path, suffix):
        values, affine = _read_picture(path, mask) if suffix in PICTURES else _READERS[suffix](path)
    if values.dtype.kind not in "buif":
        raise UserError(f"{path}: holds {values.dtype}, expected numbers")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = np.count_nonzero(~np.isfinite(values))
        raise UserError(
            f"{path}: {count} voxels are NaN or infinite; mend it; a training case may be left out (data.exclude)"
        )
    return values, affine


def read_geometry(path: Path) -> tuple[tuple[int, ...], Affine]:
    """Shape ``(X, Y, Z)`` and affine; of NIfTI from the header alone."""
    if suffix_of(path) not in NIFTI:
        values, affine = read_volume(path)
        return values.shape[1:], affine
    check_regular(path)
    with reading(path, "NIfTI"):
        image, affine = _nifti(path)
        return tuple((*image.shape, 1, 1)[:3]), affine


def write_labels(source: Path, labels: NDArray[Any], target: Path) -> None:
    """Write a label map ``(X, Y, Z)`` in the geometry of ``source``."""
    suffix, ending = str(suffix_of(source)), str(suffix_of(target))
    labels = labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
    make_directory(target.parent)
    try:
        with written_aside(target) as aside:
            # The libraries choose a format by the suffix.
            named = aside.with_name(aside.name + ending)
            try:
                _WRITERS[suffix](source, labels, named)
                shutil.move(named, aside)
            finally:
                named.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def target_name(source: Path, name: str) -> str:
    """The file name of ``source``'s label map, without folder."""
    suffix = str(suffix_of(source))
    return name + _WRITTEN_AS.get(suffix, suffix)


def _nifti(path: Path) -> tuple[Any, Affine]:
    """The image, and its affine in mm."""
    image = load_nifti(path)
    determinant = np.linalg.det(image.affine[:3, :3])
    if not np.isfinite(determinant) or abs(determinant) < 1e-12:
        raise UserError(f"{path}: its header gives no directions of the axes (affine {image.affine[:3].tolist()})")
    return image, np.diag([*[unit_in_mm(image)] * 3, 1.0]) @ image.affine


def _read_nifti(path: Path) -> tuple[NDArray[Any], Affine]:
    image, affine = _nifti(path)
    values = np.asanyarray(image.dataobj)
    if values.ndim == 5 and values.shape[3] == 1:  # a vector image
        values = values[:, :, :, 0]
    if not 2 <= values.ndim <= 4:
        raise UserError(f"{path}: {values.ndim} dimensions {values.shape}, expected 2, 3, or 4 with channels last")
    values = values[..., None] if values.ndim == 2 else values
    return np.moveaxis(values, 3, 0) if values.ndim == 4 else values[None], affine


def _read_itk(path: Path) -> tuple[NDArray[Any], Affine]:
    image = _itk_image(path)
    values = simpleitk(path).GetArrayFromImage(image)
    channels = image.GetNumberOfComponentsPerPixel() > 1
    values = np.moveaxis(values, -1, 0) if channels else values[None]
    values = values.transpose(0, *range(values.ndim - 1, 0, -1))
    dimension = image.GetDimension()
    if dimension == 4 and not channels:
        values, dimension = np.moveaxis(values[0], 3, 0), 3
    affine, size = np.eye(4), image.GetDimension()
    steps = np.array(image.GetDirection()).reshape(size, size) * image.GetSpacing()
    affine[:dimension, :dimension], affine[:dimension, 3] = steps[:dimension, :dimension], image.GetOrigin()[:dimension]
    return (values[..., None] if dimension == 2 else values), _LPS @ affine


def _itk_image(path: Path) -> Any:
    library = simpleitk(path)
    if not path.is_dir():
        return library.ReadImage(str(path))
    reader = library.ImageSeriesReader()
    with _same_locale():
        series = reader.GetGDCMSeriesIDs(str(path))
        if len(series) != 1:
            raise UserError(f"{path}: {len(series)} DICOM series in one folder, expected one")
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path), series[0]))
        return reader.Execute()


@contextmanager
def _same_locale() -> Iterator[None]:
    """SimpleITK's DICOM reader sets the C locale, in which later text files would be ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


def _read_picture(path: Path, mask: bool) -> tuple[NDArray[Any], Affine]:
    labels = None
    try:
        with Image.open(path) as picture:
            if picture.getexif().get(0x0112, 1) != 1 and picture.format != "TIFF":
                raise UserError(f"{path}: stored turned (EXIF orientation); save it upright, or use data=folder")
            if mask and picture.mode in ("1", "P"):  # of which OpenCV makes 255 and colors
                labels = np.array(picture)
    except UnidentifiedImageError:
        pass  # OpenCV reads TIFFs of 16-bit colors, and refuses other files below
    if cv2.imcount(str(path)) > 1:
        raise UserError(f"{path}: {cv2.imcount(str(path))} pages or frames in one file, expected one picture")
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if labels is None else labels
    if values is None:
        raise UserError(f"{path}: not a picture, or a damaged one")
    if values.ndim == 2:
        return values[None, ..., None], np.eye(4)
    colors = values[..., 2::-1]  # without alpha
    return np.moveaxis(colors, 2, 0)[..., None], np.eye(4)


def _write_nifti(source: Path, labels: NDArray[Any], target: Path) -> None:
    if suffix_of(source) == "dicom":
        nibabel.save(nibabel.Nifti1Image(labels, _read_itk(source)[1]), target)
        return
    image: Any = nibabel.load(source)
    header = image.header.copy()
    header.set_data_dtype(labels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_max"] = header["cal_min"] = 0
    shaped = labels[..., 0] if len(image.shape) == 2 else labels
    # Without an affine nibabel keeps the header's qform, sform and codes.
    nibabel.save(type(image)(shaped, None, header), target)


def _write_itk(source: Path, labels: NDArray[Any], target: Path) -> None:
    library, image = simpleitk(source), _itk_image(source)
    ordered = labels.transpose(2, 1, 0)
    copy = library.GetImageFromArray(ordered[0] if image.GetDimension() == 2 else ordered)
    size, kept = image.GetDimension(), copy.GetDimension()  # 4 and 3 where channels are an axis
    copy.SetOrigin(image.GetOrigin()[:kept])
    copy.SetSpacing(image.GetSpacing()[:kept])
    copy.SetDirection(np.array(image.GetDirection()).reshape(size, size)[:kept, :kept].ravel().tolist())
    library.WriteImage(copy, str(target), useCompression=True)


def _write_picture(source: Path, labels: NDArray[Any], target: Path) -> None:
    Image.fromarray(labels[..., 0]).save(target)


_READERS: dict[str, Callable[[Path], tuple[NDArray[Any], Affine]]] = {
    **dict.fromkeys(NIFTI, _read_nifti),
    **dict.fromkeys((*ITK, "dicom"), _read_itk),
}
_WRITERS = {
    **dict.fromkeys((*NIFTI, "dicom"), _write_nifti),
    **dict.fromkeys(ITK, _write_itk),
    **dict.fromkeys(PICTURES, _write_picture),
}
