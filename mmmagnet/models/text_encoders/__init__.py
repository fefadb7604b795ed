"""Text encoders in stages: `stem(input_ids, word_mask)`, `forward_stage(i, words, word_mask)` on words (B, L, D)."""

from .staged_bert import StagedBert
from .staged_clip_text import StagedClipText

__all__ = ['StagedBert', 'StagedClipText']
