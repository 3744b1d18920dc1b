"""What a run will take, measured and estimated before its first step; the sweep of the learning rate."""
