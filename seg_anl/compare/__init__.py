"""Will a robust loss help on these data? A few short runs, one sentence, and how many annotations look wrong."""
