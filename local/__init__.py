"""Both tiers on this machine, as `make run` and the load tests start them."""
