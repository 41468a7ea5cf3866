"""Furnished rooms from a seed: floor plan, shell, furniture by function, clutter, light, and the caption facts."""
