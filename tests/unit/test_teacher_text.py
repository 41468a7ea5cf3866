"""Text embeddings of a tiny T5: padded with zeros, kept on disk, no encoder needed for what is kept."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from lyra.scene import InputError
from lyra.teacher.text import TextEncoder


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    """A T5 encoder with random weights and a tokenizer of six words."""
    folder = tmp_path_factory.mktemp("models") / "tiny-t5"
    words = {word: index for index, word in enumerate(["<pad>", "<unk>", "a", "red", "house", "sea"])}
    tokenizer = Tokenizer(models.WordLevel(words, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(vocab_size=6, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    return folder


def test_embeddings_are_kept_and_padded_with_zeros(encoder_folder, tmp_path):
    """What is kept comes back bit by bit, without the encoder; length does not change what a text means (1e-6)."""
    encoder = TextEncoder(tmp_path / "kept", encoder_folder, tokens=8, dtype=torch.float32)
    made = encoder("a red house")
    assert made.shape == (1, 8, 16) and (made[0, 3:] == 0).all() and (made[0, :3] != 0).all()
    elsewhere = TextEncoder(tmp_path / "kept", "/nowhere/tiny-t5", tokens=8, dtype=torch.float32)
    assert torch.equal(elsewhere("a red house"), made)
    longer = TextEncoder(tmp_path / "kept", encoder_folder, tokens=12, dtype=torch.float32)
    assert torch.allclose(longer("a red house")[:, :3], made[:, :3], atol=1e-5)
    assert not torch.equal(encoder("a red sea"), made)
    assert len(list((tmp_path / "kept").iterdir())) == 3
    with pytest.raises(InputError, match="no T5 encoder could be loaded"):
        elsewhere("a sea")


def test_a_damaged_embedding_is_made_again(encoder_folder, tmp_path):
    encoder = TextEncoder(tmp_path, encoder_folder, tokens=4, dtype=torch.float32)
    made = encoder("sea")
    next(tmp_path.iterdir()).write_bytes(b"cut")
    assert torch.equal(encoder("sea"), made)
