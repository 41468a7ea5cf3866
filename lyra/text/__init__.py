"""Text for the small model: what a prompt names in words it knows (`read`), and that as tokens (`Encoder`)."""

from lyra.text.encoder import Encoder
from lyra.text.reading import Concept, Mention, Reading, read

__all__ = ["Concept", "Encoder", "Mention", "Reading", "read"]
