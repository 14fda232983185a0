"""Volumes and images of any depth: NIfTI and the like, trained in patches, predicted in their own geometry."""
