"""Text for the published teacher: embeddings of a T5 encoder, each computed once and kept on disk.

GEN3C reads 512 embeddings of 1024 channels from T5-11B, zeros after the end of the text, and sees all of them. The
encoder is optional: without text a teacher takes zeros (`CameraRequest.text` None), and texts that were encoded before
need no encoder.
"""

import hashlib
import json
import os
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lyra.io.atomic import replacing_file
from lyra.scene import InputError


class TextEncoder:
    """Embeddings of prompts by a T5 encoder of transformers.

    `source` is a folder or a name on the Hugging Face Hub; it is loaded when a text is not in the folder `kept`.
    """

    def __init__(
        self,
        kept: str | os.PathLike,
        source: str | os.PathLike = "google-t5/t5-11b",
        tokens: int = 512,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        self.kept, self.source, self.tokens = Path(kept), str(source), tokens
        self.device, self.dtype = torch.device(device), dtype
        self._loaded: tuple | None = None

    def __call__(self, prompt: str) -> Float[Tensor, "1 tokens channels"]:
        """The embedding of one prompt, on the CPU, float32. Raises InputError if it needs an encoder and has none."""
        file = self.kept / f"{self._key(prompt)}.safetensors"
        if file.is_file():
            try:
                return load_file(file)["embedding"].float()
            except (SafetensorError, KeyError):
                pass  # damaged: made again
        embedding = self._encode(prompt)
        self.kept.mkdir(parents=True, exist_ok=True)
        with replacing_file(file) as temporary:
            save_file({"embedding": embedding.to(self.dtype)}, temporary, {"prompt": prompt, "encoder": self.source})
        return embedding.to(self.dtype).float()

    def release(self) -> None:
        """Let go of the encoder, which is larger than the teacher."""
        self._loaded = None

    def _key(self, prompt: str) -> str:
        """The name of an embedding's file: it depends on the encoder's name, not on where it lies."""
        what = [Path(self.source).name, self.tokens, str(self.dtype), prompt]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]

    @torch.no_grad()
    def _encode(self, prompt: str) -> Float[Tensor, "1 tokens channels"]:
        tokenizer, model = self._load()
        batch = tokenizer(
            [prompt], padding="max_length", truncation=True, max_length=self.tokens, return_tensors="pt"
        ).to(self.device)
        hidden = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        return (hidden * batch.attention_mask[..., None]).float().cpu()

    def _load(self) -> tuple:
        if self._loaded is None:
            try:
                from transformers import AutoTokenizer, T5EncoderModel  # optional, and slow to import

                tokenizer = AutoTokenizer.from_pretrained(self.source)
                model = T5EncoderModel.from_pretrained(self.source, dtype=self.dtype)
            except ImportError as error:
                raise InputError('text needs the package transformers: pip install "lyra[text]"') from error
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{self.source}: no T5 encoder could be loaded from there ({str(error).splitlines()[0]}); give the "
                    "folder with its files, or leave the text away"
                ) from error
            self._loaded = tokenizer, model.to(self.device).eval()
        return self._loaded
