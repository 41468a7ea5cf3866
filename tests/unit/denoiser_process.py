"""One of two training processes, started by test_denoiser_training.py with torchrun's environment."""

import sys

import torch
from denoiser_cases import train

from lyra.train.processes import Processes


def main() -> None:
    """Train; the first process writes losses and weights to the file of the command line."""
    torch.set_num_threads(1)
    processes = Processes.start("cpu")
    losses, weights = train(processes)
    if processes.first:
        torch.save({"losses": losses, "weights": weights}, sys.argv[1])
    processes.stop()


if __name__ == "__main__":
    main()
