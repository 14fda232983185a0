"""The figures of the papers, listed in :mod:`catalog`."""
