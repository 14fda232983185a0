"""The classification trainer's place in the wheel; the losses it will use are in ``seg_anl.losses``."""
