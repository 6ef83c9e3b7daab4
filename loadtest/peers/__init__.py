"""What one would build instead of two tiers: the peers of `make bench-gateway`, each as its documentation shows it.

All decode and normalise with digits.preprocess, so that the same pixels reach the same weights.
"""
