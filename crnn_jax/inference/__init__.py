"""A checkpoint to texts, confidence and scores. Imports `runs` and what `runs` may import."""
