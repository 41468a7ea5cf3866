"""The world engine: endless posed RGB-D video of artist-made scenes, for training and evaluation.

The product (`lyra`) never imports this room.
"""
