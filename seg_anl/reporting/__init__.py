"""Tables and figures of the papers from run directories; reads the files of a run only, and needs no torch."""
