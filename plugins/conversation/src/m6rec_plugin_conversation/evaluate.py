"""The report of a run: the replies (`m6rec_core.generation.TextEvaluation`), and recall of the recommended films."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from m6rec_core.generation import TextEvaluation
from m6rec_core.generation.evaluation import MODEL, UNTUNED
from m6rec_core.metrics.bootstrap import Bootstrap
from m6rec_core.types import Report, RunView, Sample
from m6rec_plugin_conversation.recommending import (
    TOP,
    Scores,
    likelihood_scores,
    popularity_scores,
    questions_of,
    random_scores,
    recall_report,
    signature,
)
from m6rec_plugin_conversation.sample import DialogueSample


@dataclass(frozen=True, slots=True)
class DialogueEvaluation:
    """`m6rec_core.types.Evaluation` of replies and of films. Likelihood and perplexity are those of replies alone."""

    text: TextEvaluation

    def valid(self, run: RunView) -> Mapping[str, float]:
        """Mean log p per token of the replies, which training raises; and the perplexity."""
        return self.text.valid(_replies(run))

    def test(self, run: RunView) -> Report:
        """Compare texts as every task that writes does, then rank the films that the replies recommend."""
        report = self.text.test(_replies(run))
        questions = questions_of(run)
        if questions.size < 2:
            return replace(report, facts=(*report.facts, ("recall", "no test reply recommends a film among others")))
        tuned = run.answer(questions.samples, "ranking films")
        bare = run.untuned(questions.samples, "ranking films with the untuned backbone") if run.untuned else None
        if not run.main:
            return report
        systems: dict[str, Scores] = {MODEL: likelihood_scores(questions, tuned)}
        if bare is not None:
            systems[UNTUNED] = likelihood_scores(questions, bare)
        popular = popularity_scores(run, questions)
        if popular is not None:
            systems["popularity in training"] = popular
        systems["random"] = random_scores(run, questions)
        tables, numbers = recall_report(questions, systems, Bootstrap(resamples=run.evaluation.bootstrap))
        told = "; ".join(signature(f"recall@{k}", questions) for k in TOP if k < questions.size)
        return replace(
            report,
            tables=(*report.tables, *tables),
            facts=(*report.facts, ("recall", told)),
            metrics={**report.metrics, "recommending": numbers},
        )


def _replies(run: RunView) -> RunView:
    """The run with samples whose films are not scored, so that each has one row."""
    bare: dict[str, list[Sample]] = {
        part: [cast(DialogueSample, sample).model_copy(update={"recommended": ()}) for sample in samples]
        if part != "train"
        else list(samples)
        for part, samples in run.parts.items()
    }
    return replace(run, parts=bare)
