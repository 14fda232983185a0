"""Which annotations are wrong, and how: scores, diagnoses, and a page on which a person decides."""
