"""The kinds of mask noise: functions declared with :func:`mask_noise` in any file of this folder."""

from .mask_kind import DEFAULT_KINDS, MaskKind, Outcome, Structure, checked_kinds, mask_kinds, mask_noise

__all__ = ["DEFAULT_KINDS", "MaskKind", "Outcome", "Structure", "checked_kinds", "mask_kinds", "mask_noise"]
