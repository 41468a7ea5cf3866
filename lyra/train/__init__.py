"""Training: data, losses and one loop for each network; the scripts that call it are under runs/."""
