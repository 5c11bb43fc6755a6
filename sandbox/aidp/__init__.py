"""The toolkit of data recipes, `from aidp import *` (paper, section 3.1)."""

from sandbox.aidp.answers import extract_boxed
from sandbox.aidp.answers import extract_final
from sandbox.aidp.answers import extract_json
from sandbox.aidp.answers import extract_letter
from sandbox.aidp.answers import to_boxed
from sandbox.aidp.answers import to_json
from sandbox.aidp.answers import to_letter
from sandbox.aidp.duplicates import deduplicate_by_minhash
from sandbox.aidp.duplicates import deduplicate_by_text_hash
from sandbox.aidp.llm import filter_with_llm
from sandbox.aidp.llm import generate_dataset_with_llm
from sandbox.aidp.llm import score_with_llm
from sandbox.aidp.loading import load_remote_dataset
from sandbox.aidp.operators import concatenate_datasets
from sandbox.aidp.operators import dump_dataset
from sandbox.aidp.operators import filter_by_length
from sandbox.aidp.operators import format_to_sharegpt
from sandbox.aidp.operators import map_rows
from sandbox.aidp.operators import mix_datasets
from sandbox.aidp.operators import sample_dataset
from sandbox.aidp.operators import select_by_filter
from sandbox.aidp.operators import select_columns
from sandbox.aidp.operators import split_dataset

# In the order in which a prompt describes them; see `aidp/describe.py`.
__all__ = [
    "load_remote_dataset",
    "select_by_filter",
    "filter_by_length",
    "select_columns",
    "map_rows",
    "generate_dataset_with_llm",
    "filter_with_llm",
    "score_with_llm",
    "deduplicate_by_text_hash",
    "deduplicate_by_minhash",
    "sample_dataset",
    "split_dataset",
    "mix_datasets",
    "concatenate_datasets",
    "extract_json",
    "extract_boxed",
    "extract_final",
    "extract_letter",
    "to_boxed",
    "to_letter",
    "to_json",
    "format_to_sharegpt",
    "dump_dataset",
]
