"""One of several training processes of a test: `torchrun student_worker.py STEPS OUT`."""

import sys

import torch
from test_student import PixelCodec, advance, make_pool, make_trainer

from lyra.train.processes import Processes

if __name__ == "__main__":
    torch.set_num_threads(1)
    processes = Processes.start("cpu")
    trainer, pool = make_trainer(processes=processes), make_pool()
    pool.fill(2)
    for _ in range(int(sys.argv[1])):
        advance(trainer, pool, PixelCodec(), None, trainer.step / trainer.recipe.steps)
    if processes.first:
        torch.save({"decoder": trainer.decoder.state_dict(), "batch": list(trainer.places)}, sys.argv[2])
    processes.stop()
