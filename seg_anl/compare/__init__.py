"""Will a robust loss help on this data? Short runs, a one-sentence verdict and an audit of the annotations."""
