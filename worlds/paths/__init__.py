"""Where cameras may go: free space of a world, the six trajectories of the method, and free walks."""
