"""Find wrong annotations: scores, diagnoses, and a review page on which a person decides."""
