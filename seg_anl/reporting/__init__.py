"""Tables and figures of the papers, made from the files of run directories, without torch."""
