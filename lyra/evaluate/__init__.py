"""Evaluation of teacher and student against true pictures, baselines and per-scene optimisation."""
