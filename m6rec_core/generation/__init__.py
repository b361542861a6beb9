"""Stage `generation`: what tasks that write text share. The answer as scored text, n best, and the report of a run."""

from m6rec_core.generation.answers import (
    STOP,
    AnswerLikelihood,
    TextPrediction,
    answer_losses,
    answer_row,
    answer_segment,
    answer_text,
    prompt_row,
    write_predictions,
)
from m6rec_core.generation.best import Keep, best_texts, for_best
from m6rec_core.generation.evaluation import MODEL, UNTUNED, TextBaseline, TextEvaluation
from m6rec_core.generation.nearest import nearest_answers
from m6rec_core.generation.pictures import Painter, Picture, open_pipeline
from m6rec_core.generation.settings import WritingConfig
from m6rec_core.generation.shown import scored_texts, told_texts
from m6rec_core.generation.tables import interval_cell, interval_json, signed_cell

__all__ = [
    "MODEL",
    "STOP",
    "UNTUNED",
    "AnswerLikelihood",
    "Keep",
    "Painter",
    "Picture",
    "TextBaseline",
    "TextEvaluation",
    "TextPrediction",
    "WritingConfig",
    "answer_losses",
    "answer_row",
    "answer_segment",
    "answer_text",
    "best_texts",
    "for_best",
    "interval_cell",
    "interval_json",
    "nearest_answers",
    "open_pipeline",
    "prompt_row",
    "scored_texts",
    "signed_cell",
    "told_texts",
    "write_predictions",
]
