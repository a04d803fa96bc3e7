"""Floor 5: from text to batches of token ids, and the yardsticks of language models.

Ids, lengths and batches are NumPy arrays on the host, whatever library computes.
"""

from .metrics import bits_per_character, perplexity
from .ngram import NGram
from .padding import pad_sequences
from .tasks import AddingProblem, CopyMemory, TaskBatch, TemporalOrder
from .vocabulary import CharTokenizer, Vocabulary
from .windows import RandomWindows, Streams, split

__all__ = [
    "AddingProblem",
    "CharTokenizer",
    "CopyMemory",
    "NGram",
    "RandomWindows",
    "Streams",
    "TaskBatch",
    "TemporalOrder",
    "Vocabulary",
    "bits_per_character",
    "pad_sequences",
    "perplexity",
    "split",
]
