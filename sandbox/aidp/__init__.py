"""The toolkit of data recipes, `from aidp import *` (paper, section 3.1)."""

from sandbox.aidp.answers import extract_boxed
from sandbox.aidp.answers import extract_final
from sandbox.aidp.answers import extract_json
from sandbox.aidp.answers import extract_letter
from sandbox.aidp.answers import to_boxed
from sandbox.aidp.answers import to_json
from sandbox.aidp.answers import to_letter
from sandbox.aidp.llm import generate_dataset_with_llm
from sandbox.aidp.loading import load_remote_dataset
from sandbox.aidp.operators import concatenate_datasets
from sandbox.aidp.operators import deduplicate_by_text_hash
from sandbox.aidp.operators import dump_dataset
from sandbox.aidp.operators import format_to_sharegpt
from sandbox.aidp.operators import sample_dataset
from sandbox.aidp.operators import select_by_filter

__all__ = [
    "concatenate_datasets",
    "deduplicate_by_text_hash",
    "dump_dataset",
    "extract_boxed",
    "extract_final",
    "extract_json",
    "extract_letter",
    "format_to_sharegpt",
    "generate_dataset_with_llm",
    "load_remote_dataset",
    "sample_dataset",
    "select_by_filter",
    "to_boxed",
    "to_json",
    "to_letter",
]
