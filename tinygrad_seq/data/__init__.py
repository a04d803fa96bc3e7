"""Layer 6: from files to batches, and the baselines of language models.

Ids, numbers, lengths and batches are NumPy arrays on the host, for every backend.
"""

from ..hints import DATA
from ..messages import publish
from .batches import Batch, Batches
from .metrics import bits_per_character, perplexity
from .ngram import NGram
from .padding import pad_sequences
from .rolls import read_rolls, roll_of_notes, save_rolls
from .splits import random_split, split
from .standardizer import Standardizer
from .table import csv_chunks, read_csv
from .tasks import AddingProblem, CopyMemory, TaskBatch, TemporalOrder
from .text import encode_file, letters, read_text, text_chunks
from .vocabulary import CharTokenizer, Vocabulary
from .windows import RandomWindows, Streams

__all__ = [
    "AddingProblem", "Batch", "Batches", "CharTokenizer", "CopyMemory", "NGram", "RandomWindows",
    "Standardizer", "Streams", "TaskBatch", "TemporalOrder", "Vocabulary", "bits_per_character",
    "csv_chunks", "encode_file", "letters", "pad_sequences", "perplexity", "random_split",
    "read_csv", "read_rolls", "read_text", "roll_of_notes", "save_rolls", "split", "text_chunks",
]  # fmt: skip

publish(__name__, DATA)
