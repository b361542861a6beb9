"""BLEU (Papineni et al. 2002) in the variants that the literature reports under one name.

With m_k the matched and t_k the possible k-grams, p_k = m_k / t_k, h and r the tokens of hypotheses and references:
BLEU-n = BP * (p_1 ... p_n)^(1/n), BP = 1 if h > r else exp(1 - r / h). "Corpus" sums m, t, h and r over the rows
first; "sentence" averages BLEU over rows. One reference per row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from m6rec_core.metrics.evidence import RowSums, row_mean
from m6rec_core.metrics.ranking import FloatArray
from m6rec_core.metrics.text.ngrams import SACREBLEU_TOKENIZERS, overlap_table, tokenized

SACREBLEU_ORDER = 4


def brevity_penalty(hypothesis: FloatArray, reference: FloatArray) -> FloatArray:
    """Return BP of token counts [R]; 0 without any token in the hypotheses."""
    safe = np.where(hypothesis > 0.0, hypothesis, 1.0)
    short = np.exp(np.minimum(1.0 - reference / safe, 0.0))
    penalty: FloatArray = np.where(hypothesis > 0.0, short, 0.0)
    return penalty


def _precisions(sums: FloatArray, order: int) -> FloatArray:
    matched, possible = sums[:, 2 : 2 + order], sums[:, 2 + order : 2 + 2 * order]
    precisions: FloatArray = matched / np.where(possible > 0.0, possible, 1.0)
    return precisions


def _geometric(precisions: FloatArray, penalty: FloatArray) -> FloatArray:
    safe = np.where(precisions > 0.0, precisions, 1.0)
    mean = np.exp(np.log(safe).mean(axis=1))
    values: FloatArray = np.where((precisions > 0.0).all(axis=1), mean * penalty, 0.0)
    return values


def bleu_of_sums(sums: FloatArray, order: int) -> FloatArray:
    """Return BLEU-`order` in [0, 1], not smoothed, of statistics [R, 2 + 2 * order] (see `overlap_table`); [R].

    0 where a precision is 0 or there is no such n-gram; nan where there is no text at all on both sides.
    """
    values = _geometric(_precisions(sums, order), brevity_penalty(sums[:, 0], sums[:, 1]))
    undefined: FloatArray = np.where((sums[:, :2] == 0.0).all(axis=1), np.nan, values)
    return undefined


def _exponential(sums: FloatArray) -> FloatArray:
    """Sacrebleu's default: the j-th order without a match counts 2^-j matches; no match at all is 0."""
    order = SACREBLEU_ORDER
    matched, possible = sums[:, 2 : 2 + order], sums[:, 2 + order : 2 + 2 * order]
    missing = (matched == 0.0) & (possible > 0.0)
    smoothed = np.where(missing, 0.5 ** np.cumsum(missing, axis=1), matched)
    precisions = np.where(matched.any(axis=1, keepdims=True), smoothed / np.where(possible > 0.0, possible, 1.0), 0.0)
    values: FloatArray = 100.0 * _geometric(precisions, brevity_penalty(sums[:, 0], sums[:, 1]))
    return values


def sacre_bleu(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = "13a") -> RowSums:
    """Return corpus BLEU-4 as sacrebleu computes it (Post 2018), 0 to 100, exponential smoothing, case kept.

    The statistics of the rows come from sacrebleu; the sums are combined here so that 1000 resamples take one matrix
    product. A tokenisation that is not sacrebleu's is applied first.
    """
    own = tokenizer in SACREBLEU_TOKENIZERS
    if not own:
        hypotheses = [" ".join(tokens) for tokens in tokenized(hypotheses, tokenizer)]
        references = [" ".join(tokens) for tokens in tokenized(references, tokenizer)]
    # Effective order and force only silence warnings: the counts are the same.
    scorer = BLEU(tokenize=tokenizer if own else "none", effective_order=True, force=True)
    table = np.zeros((len(hypotheses), 2 + 2 * SACREBLEU_ORDER))
    for row, (hypothesis, reference) in enumerate(zip(hypotheses, references, strict=True)):
        found = scorer.sentence_score(hypothesis, [reference])
        table[row] = [found.sys_len, found.ref_len, *found.counts, *found.totals]
    return RowSums(table, _exponential)


def corpus_bleu(
    hypotheses: Sequence[str], references: Sequence[str], order: int, tokenizer: str = "blanks", scale: float = 1.0
) -> RowSums:
    """Return corpus BLEU-`order` without smoothing, times `scale`.

    PETER (Li et al. 2021): tokenizer "blanks", scale 100. KOBE (Chen et al. 2019, multi-bleu.perl -lc): "blanks-lc".
    """
    table = overlap_table(tokenized(hypotheses, tokenizer), tokenized(references, tokenizer), order)
    return RowSums(table, lambda sums: scale * bleu_of_sums(sums, order))


def sentence_bleu(
    hypotheses: Sequence[str], references: Sequence[str], order: int, individual: bool, tokenizer: str = "blanks"
) -> RowSums:
    """Return the mean over rows of sentence BLEU, not smoothed.

    individual: BP * p_order alone, as KGSF computes "BLEU-k" (Zhou et al. 2020: weights 1 on one order, 0 on others);
    otherwise cumulative, BP * (p_1 ... p_order)^(1/order). A row with an empty hypothesis or reference counts 0.
    """
    table = overlap_table(tokenized(hypotheses, tokenizer), tokenized(references, tokenizer), order)
    if individual:
        # A hypothesis without a matching word is 0 whatever the order, which follows: no 1-gram, no k-gram.
        values = brevity_penalty(table[:, 0], table[:, 1]) * _precisions(table, order)[:, -1]
    else:
        values = np.nan_to_num(bleu_of_sums(table, order), nan=0.0)
    return row_mean(values)
