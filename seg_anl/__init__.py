"""seg_anl: train networks through wrong annotations. Importing it is light; see ``seg_anl.losses``."""

__version__ = "0.2.0"
