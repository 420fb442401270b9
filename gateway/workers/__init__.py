"""Several processes for one gateway: a supervisor, and workers that read a part of the machines each."""
