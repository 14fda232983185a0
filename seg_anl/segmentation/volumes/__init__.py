"""Volumes, and pictures of any bit depth: trained in patches, predicted in their own geometry."""
