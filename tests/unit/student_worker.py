"""One of several training processes of a test: `accelerate launch -m student_worker STEPS OUT`."""

import sys
from pathlib import Path

import torch
from test_processes import FOUR
from test_student import PixelCodec, advance, make_pool, make_trainer

from lyra.train.processes import Processes

STEPS, OUT = int(sys.argv[1]), Path(sys.argv[2])


def main() -> None:
    """Train with whole weights, with shards, and with shards from a checkpoint of the other before the last step."""
    torch.set_num_threads(1)
    processes = Processes.start("cpu")
    for name, sharded in (("plain", False), ("sharded", True), ("resumed", True)):
        trainer, pool = make_trainer(FOUR, processes, sharded), make_pool()
        held = [(p.to_local() if sharded else p).numel() for p in trainer.decoder.parameters()]
        assert sum(held) <= (0.55 if sharded else 1.0) * sum(p.numel() for p in trainer.decoder.parameters())
        if name == "resumed":
            pool.restore(*trainer.restore(OUT / "sharded_before.pt"))
        else:
            pool.fill(2)
        while trainer.step < STEPS:
            if trainer.step == STEPS - 1:
                trainer.save(OUT / f"{name}_before.pt", (len(pool), pool.drawn))
            advance(trainer, pool, PixelCodec(), None, trainer.step / trainer.recipe.steps)
        trainer.save(OUT / f"{name}.pt", (len(pool), pool.drawn))
        trainer.save_average(OUT / name)
    processes.stop()


if __name__ == "__main__":
    main()
