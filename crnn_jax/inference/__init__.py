"""Turns images into texts, confidences and scores. Imports `runs` and what `runs` may import."""
