"""Asset sources: one file per package family, each turning foreign files into the types of `worlds.scene`."""
