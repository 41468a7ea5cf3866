"""A monocular video as the model sees it: evenly timed frames, the cameras that took them, one consistent depth."""
