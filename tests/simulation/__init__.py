"""A day of many GPUs in minutes: the real FairQueue and the real routing against simulated replicas, without sleep."""
