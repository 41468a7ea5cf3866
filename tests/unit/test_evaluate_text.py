"""The judge of made pictures: attributes of captions, and what it says of good, exchanged and empty evidence."""

import torch

from lyra.evaluate.text import ROOMS, SIGNS, Judge, asked, diversity

CAPTIONS = [
    f"A {room} with a {'sofa' if i % 2 else 'desk'}, a {'chair' if i % 11 < 5 else 'fridge'} "
    f"and a {'bookcase' if i % 3 else 'bed'}. "
    f"{'White' if i % 4 < 2 else 'Blue'} walls, {'light wood' if i % 5 < 2 else 'marble'} floor, "
    f"{'lamp light in the evening' if i % 7 < 3 else 'daylight'}."
    for i in range(120)
    for room in (ROOMS[i % len(ROOMS)],)
]


def evidence(noise: float, seed: int) -> torch.Tensor:
    """Features that hold the attributes of CAPTIONS in a random basis, with noise."""
    wanted = asked(CAPTIONS)
    facts = torch.cat([torch.nn.functional.one_hot(wanted.room, len(ROOMS)), wanted.signs], 1).float()
    basis = torch.randn(facts.shape[1], 40, generator=torch.Generator().manual_seed(0))
    return facts @ basis + noise * torch.randn(len(facts), 40, generator=torch.Generator().manual_seed(seed))


def test_attributes_of_captions():
    wanted = asked(
        [
            "A dining room that opens into a kitchen with two sofas and six chairs. White walls, oak floor, daylight.",
            "a box",
        ]
    )
    assert wanted.room.tolist() == [ROOMS.index("dining room"), -1]
    assert dict(zip(SIGNS, wanted.signs[0].tolist(), strict=True)) == {
        "white walls": 1, "wooden floor": 1, "sofa": 1, "bed": 0, "chair": 1, "lamp light": 0,
    }  # fmt: skip
    assert not wanted.signs[1].any()


def test_the_judge_sees_what_is_there_and_nothing_else():
    judge, test, wanted = Judge(evidence(0.3, 1), asked(CAPTIONS)), evidence(0.3, 2), asked(CAPTIONS)
    seen, chance = judge.scores(test, wanted), judge.by_chance(test, wanted)
    assert seen["room"] > 0.95 and seen["signs"] > 0.95  # measured: 1.0 and 1.0
    assert abs(chance["room"] - 1 / 7) < 0.05 and abs(chance["signs"] - 0.5) < 0.03  # measured: 0.14 and 0.50
    blind = judge.scores(torch.randn(120, 40, generator=torch.Generator().manual_seed(5)), wanted)
    assert abs(blind["signs"] - 0.5) < 0.1  # measured: 0.52


def test_diversity_is_none_for_equal_pictures():
    same = torch.ones(3, 4, 10)
    assert diversity(same) == 0 and abs(diversity(torch.eye(4)[None]) - 2**0.5) < 1e-12
