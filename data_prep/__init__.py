"""Annotation noise and dataset conversion. Imports ``seg_anl.records`` and nothing that trains."""
