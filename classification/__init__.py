"""The classification trainer, ``seg-anl-classify``."""
