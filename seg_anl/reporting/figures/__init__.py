"""The figures of the papers; :mod:`catalog` has them by name."""
