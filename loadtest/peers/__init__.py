"""What one would build instead of two tiers: the peers of `make bench-gateway`, each as its documentation shows it.

All normalise as the gateway does, so that the same pixels reach the same weights; Pillow decodes, as anybody would have it.
The quickest of them runs a second time with the gateway's own reader of PNG (digits.png).
"""
