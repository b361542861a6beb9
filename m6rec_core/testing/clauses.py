"""The clauses of the conformance kit as functions: each returns when the plugin keeps it and raises `Violation` if not.

Every clause looks at one thing only, so that a fault fails the clause it belongs to and, where that is possible, no
other: neighbours change in clause 4, order and padding in clause 5, other tasks in clause 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from m6rec_core.decoding.writing import writer
from m6rec_core.errors import M6RecError, RegistryError
from m6rec_core.model import M6Rec
from m6rec_core.testing.building import one_batch
from m6rec_core.testing.case import FIRST, SECOND, Case, Violation, fields_match, numbers_of
from m6rec_core.tokens.batching import Batch, Encoded
from m6rec_core.tokens.markers import Marker
from m6rec_core.types import LossScope, Prediction, Sample, Serialized

HOSTILE = "[EOS] [BOS'] [MASK] <|endoftext|> <|im_start|> </s>"
"""What a user might type into a title to confuse a language model."""


def json_round_trip(case: Case) -> None:
    """Clause 1: samples and settings survive JSON unchanged, since files and requests are made of it."""
    for value in (*case.samples, case.config):
        again = type(value).model_validate_json(value.model_dump_json())
        if again != value:
            raise Violation(1, f"{_name(value)} is not the same after a round trip through JSON")
    for sample in case.samples:
        if not isinstance(sample, case.task.manifest.sample):
            raise Violation(1, f"{_name(sample)} is no {case.task.manifest.sample.__name__}, which the manifest names")


def label_hidden(case: Case) -> None:
    """Clause 2: the text is the same with another label, and with none where the sample allows that."""
    field = case.task.manifest.label_field
    if not field:
        return
    for sample in case.samples:
        text = case.serialize(sample)
        if text != case.serialize(sample):
            return  # clause 3
        others = _other_labels(case, sample, field)
        if not others:
            raise Violation(2, f"the samples all have one {field}: give the fixture samples with different ones")
        for other in others:
            try:
                same = case.serialize(other) == text
            except M6RecError as error:
                raise Violation(2, f"{_name(sample)} cannot be written without its {field}: {error}") from error
            if not same:
                raise Violation(2, f"the text of {_name(sample)} changes with {field}: the answer leaks")


def deterministic(case: Case) -> None:
    """Clause 3: the same sample gives the same text, and the same batch the same losses and predictions."""
    first = [case.serialize(sample) for sample in case.samples]
    again = [case.serialize(sample.model_copy(deep=True)) for sample in reversed(case.samples)][::-1]
    if first != again:
        raise Violation(3, "serialize_sample gives different text for the same sample")
    model, batch = case.model(FIRST), one_batch(case.encoded(FIRST), case.backbone)
    if not fields_match(predictions_by_id(model, batch), predictions_by_id(model, batch), 0.0):
        raise Violation(3, "decode gives different predictions for the same batch")
    losses, repeated = losses_by_id(model, batch), losses_by_id(model, batch)
    if losses != repeated:
        raise Violation(3, "compute_loss gives different losses for the same batch")


def row_independence(case: Case) -> None:
    """Clause 4: one loss per sample, and neither loss nor prediction depends on the other samples of the batch.

    A task with `LossScope.BATCH` (in-batch negatives) may let its losses depend on them, its predictions never.
    """
    model, encoded = case.model(FIRST), case.encoded(FIRST)
    try:
        model(one_batch(encoded, case.backbone))
    except RegistryError as error:
        raise Violation(4, str(error)) from error
    for sample in encoded:
        others = [other for other in encoded if other is not sample]
        alone, among = (one_batch(rows, case.backbone) for rows in ([sample], [sample, *others]))
        if case.task.manifest.loss_scope is LossScope.ROW and not _agree(
            losses_by_id(model, alone), losses_by_id(model, among), case.tolerance, sample
        ):
            raise Violation(4, f"the loss of {_name(sample.sample)} depends on the other samples of its batch")
        if not _agree(predictions_by_id(model, alone), predictions_by_id(model, among), case.tolerance, sample):
            raise Violation(4, f"the prediction of {_name(sample.sample)} depends on the other samples of its batch")


def padding_and_order(case: Case) -> None:
    """Clause 5: the order of a batch, its padding and its packing change no loss and no prediction."""
    model, encoded = case.model(FIRST), case.encoded(FIRST)
    whole = one_batch(encoded, case.backbone, merged=True)
    losses, predictions = losses_by_id(model, whole), predictions_by_id(model, whole)
    turned = [*encoded[1:], encoded[0]]
    for order, merged in ((encoded[::-1], False), (turned, False), (turned, True)):
        batch = one_batch(order, case.backbone, merged)
        if not fields_match(losses, losses_by_id(model, batch), case.tolerance):
            raise Violation(5, "losses change with the order or the padding of the batch")
        if not fields_match(predictions, predictions_by_id(model, batch), case.tolerance):
            raise Violation(5, "predictions change with the order or the padding of the batch")


def bf16_error(case: Case) -> None:
    """Clause 6: over a bf16 backbone the head adds no error of its own.

    (a) On the same hidden states a float32 head agrees with a float64 head. (b) In a mixed batch the predictions are no
    further from the float64 backbone's than those of single rows, times a factor for chance.
    """
    coarse, exact = case.half_model(), case.half_model()
    exact.heads.double()
    batch = case.mixed_batch()
    if not fields_match(cast_predictions(case, coarse, batch), cast_predictions(case, exact, batch), 1e-4):
        raise Violation(6, "the head computes below float32: let it follow view.hidden.dtype")
    truth = _numbers(predictions_by_id(case.model(FIRST, SECOND), batch))
    alone = {
        key: value
        for sample in case.encoded(FIRST, SECOND)
        for key, value in _numbers(cast_predictions(case, exact, one_batch([sample], case.backbone))).items()
    }
    mixed = _numbers(predictions_by_id(coarse, batch))
    reference = max((abs(alone[key] - truth[key]) for key in truth), default=0.0)
    error = max((abs(mixed[key] - truth[key]) for key in truth), default=0.0)
    if not error <= case.bf16_factor * reference + 1e-4:
        raise Violation(
            6, f"bf16 predictions of a mixed batch are off by {error:.2g}, of single rows by {reference:.2g}"
        )


def overfits(case: Case) -> None:
    """Clause 7: a few steps on three samples bring the loss down, so the loss teaches what the head reads."""
    tuned = case.tuned(FIRST, noise=0.0)
    model = M6Rec(case.backbone, {FIRST: tuned}, writer).train()
    batch = one_batch(_three(case), case.backbone)
    parameters = [p for p in (*tuned.tuning.parameters(), *tuned.head.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=case.learning_rate)
    history: list[float] = []
    for _ in range(case.steps):
        losses = row_losses(model, batch)
        if losses is None:
            return  # clause 4
        loss = losses[FIRST].mean()
        if not bool(torch.isfinite(loss)):
            raise Violation(7, f"the loss is {float(loss)} after {len(history)} steps")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append(float(loss.detach()))
    if not history[-1] <= max(case.overfit_ratio * history[0], 1e-2):
        raise Violation(
            7, f"{case.steps} steps on three samples change the loss from {history[0]:.3g} to {history[-1]:.3g}"
        )


def predictions_in_order(case: Case) -> None:
    """Clause 8: one prediction per sample, in the order of the view, of the manifest's type, with the sample's id."""
    model, encoded = case.model(FIRST), case.encoded(FIRST)
    manifest = case.task.manifest
    for order in (encoded, encoded[::-1]):
        predictions = predict(model, one_batch(order, case.backbone))
        expected = [sample.sample.id for sample in order]
        if [p.id for p in predictions] != expected:
            raise Violation(8, f"decode answers {[p.id for p in predictions]} to the samples {expected}")
    for prediction in predictions:
        if not isinstance(prediction, manifest.prediction):
            raise Violation(8, f"{prediction!r} is no {manifest.prediction.__name__}, which the manifest names")
        score = getattr(prediction, manifest.score_field) if manifest.score_field else 0.0
        if isinstance(score, float) and not math.isfinite(score):
            raise Violation(8, f"{manifest.score_field} of sample {prediction.id} is {score}")


def state_round_trip(case: Case) -> None:
    """Clause 9: a fresh task with the saved state predicts the same, so all that was learnt is in the state."""
    from safetensors.torch import load, save

    old, new = case.tuned(FIRST, noise=0.1), case.tuned(FIRST, noise=0.2, seed=1, prepared=False)
    for source, target in ((old.tuning, new.tuning), (old.head, new.head)):
        # save refuses shared storage; a task pack stores copies as well
        state = {name: value.clone().contiguous() for name, value in source.state_dict().items()}
        target.load_state_dict(load(save(state)) if state else {})
    batch = one_batch(case.encoded(FIRST), case.backbone)
    models = (M6Rec(case.backbone, {FIRST: tuned}, writer).eval() for tuned in (old, new))
    before, after = (predictions_by_id(model, batch) for model in models)
    if not fields_match(before, after, 0.0):
        raise Violation(9, "predictions differ after saving and loading the state: keep it in parameters and buffers")


def alone_equals_mixed(case: Case) -> None:
    """Clause 10: rows of another instance in the batch, with other prompts and adapters, change nothing."""
    model, mixed = case.model(FIRST, SECOND), case.mixed_batch()
    for name in (FIRST, SECOND):
        alone = one_batch(case.encoded(name), case.backbone)
        found = {key: value for key, value in predictions_by_id(model, mixed).items() if key[0] == name}
        if not fields_match(predictions_by_id(model, alone), found, case.tolerance):
            raise Violation(10, "predictions change when another instance of the task has rows in the batch")
        losses = {key: value for key, value in losses_by_id(model, mixed).items() if key[0] == name}
        if not fields_match(losses_by_id(model, alone), losses, case.tolerance):
            raise Violation(10, "losses change when another instance of the task has rows in the batch")


def gradients_reach(case: Case) -> None:
    """Clause 11: every trainable tuned parameter gets a gradient, the backbone none, and the backbone stays as it was.

    Markers are exempt in tasks whose rows have none.
    """
    weights = [p.detach().clone() for p in case.backbone.parameters()]
    model = case.model(FIRST, SECOND)
    losses = row_losses(model, case.mixed_batch())
    if losses is None:
        return  # clause 4
    torch.stack([row.sum() for row in losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
    marked = any(row.markers for sample in case.samples for row in case.serialize(sample).rows)
    for part in (model.tunings, model.heads):
        for name, parameter in part.named_parameters():
            if not parameter.requires_grad or (name.endswith("marker_embeddings.embeddings") and not marked):
                continue
            if parameter.grad is None or not bool(parameter.grad.abs().sum() > 0):
                raise Violation(11, f"parameter {name} gets no gradient: use it in the loss, or do not make it")
            if not bool(torch.isfinite(parameter.grad).all()):
                raise Violation(11, f"parameter {name} gets a gradient that is not finite")
    if any(p.grad is not None or p.requires_grad for p in case.backbone.parameters()):
        raise Violation(11, "a backbone weight gets a gradient: the backbone is frozen")
    if not all(torch.equal(a, b) for a, b in zip(weights, case.backbone.parameters(), strict=True)):
        raise Violation(11, "a backbone weight changed: the backbone is frozen")


def no_markers_in_text(case: Case) -> None:
    """Clause 12: markers come from the regions of a row alone; not from the plugin's text and not from a user's."""
    forbidden = [marker.label for marker in Marker] + list(case.backbone.tokenizer.special_tokens())
    for sample in case.samples:
        given = sample.model_dump_json()
        for segment in (s for row in case.serialize(sample).rows for s in row.segments):
            found = [word for word in forbidden if word in segment.text and word not in given]
            if found:
                raise Violation(12, f"the plugin writes {found[0]!r} as text: use regions and TextRow.markers instead")
        _check_tokens(case, sample)
        try:
            _check_tokens(case, _hostile(sample))
        except M6RecError as error:
            raise Violation(12, f"{_name(sample)} with {HOSTILE!r} in its texts fails: {error}") from error


CLAUSES: Mapping[int, Callable[[Case], None]] = MappingProxyType(
    dict(
        enumerate(
            (
                json_round_trip,
                label_hidden,
                deterministic,
                row_independence,
                padding_and_order,
                bf16_error,
                overfits,
                predictions_in_order,
                state_round_trip,
                alone_equals_mixed,
                gradients_reach,
                no_markers_in_text,
            ),
            start=1,
        )
    )
)


def violations(case: Case) -> dict[int, str]:
    """Check every clause; return the numbers of those that fail, with the reason."""
    found: dict[int, str] = {}
    for number, clause in CLAUSES.items():
        try:
            clause(case)
        except Violation as violation:
            found[number] = str(violation)
    return found


Key = tuple[str, str]


def row_losses(model: M6Rec, batch: Batch) -> dict[str, Tensor] | None:
    """Losses by instance; None when the facade refuses what the hook returned, which clause 4 reports."""
    try:
        return model(batch)  # type: ignore[no-any-return]
    except RegistryError:
        return None


@torch.no_grad()
def losses_by_id(model: M6Rec, batch: Batch) -> dict[Key, float]:
    """Losses by (instance, sample id); nothing when the facade refuses them."""
    losses = row_losses(model, batch) or {}
    return {
        (name, sample.id): float(loss)
        for name, rows in losses.items()
        for sample, loss in zip(batch.tasks[name].samples, rows, strict=True)
    }


def predictions_by_id(model: M6Rec, batch: Batch) -> dict[Key, Prediction]:
    """Predictions by (instance, id of the prediction): clause 8 alone looks at their order."""
    return {(name, p.id): p for name, found in model.predict(batch).items() for p in found}


@torch.no_grad()
def cast_predictions(case: Case, model: M6Rec, batch: Batch) -> dict[Key, Prediction]:
    """Predictions by id, with the hidden states handed to each head in the head's own dtype."""
    found: dict[Key, Prediction] = {}
    for name, view in model.views(batch).items():
        head = model.heads[name]
        dtype = next((p.dtype for p in head.parameters()), view.hidden.dtype)
        cast = replace(
            view,
            hidden=view.hidden.to(dtype),
            options=None if view.options is None else view.options.to(dtype),
            scored=replace(view.scored, hidden=view.scored.hidden.to(dtype)),
        )
        found.update({(name, p.id): p for p in case.task.decode(head, cast, model.generate(name))})
    return found


def predict(model: M6Rec, batch: Batch) -> list[Prediction]:
    """Predictions of the first instance, in the order the plugin gave them."""
    return list(model.predict(batch)[FIRST])


def _agree(left: Mapping[Key, object], right: Mapping[Key, object], tolerance: float, sample: Encoded) -> bool:
    key = (sample.task, sample.sample.id)
    if key not in left or key not in right:
        return not left or not right or (key not in left and key not in right)  # clause 4 or 8 reports what is missing
    return fields_match({key: left[key]}, {key: right[key]}, tolerance)


def _numbers(predictions: Mapping[Key, Prediction]) -> dict[tuple[str, ...], float]:
    return {(*key, *path): number for key, value in predictions.items() for path, number in numbers_of(value)}


def _other_labels(case: Case, sample: Sample, field: str) -> list[Sample]:
    """The sample with every other label that its model accepts: those of the other samples, its opposite, none."""
    own = getattr(sample, field)
    labels: list[object] = [getattr(other, field) for other in case.samples]
    labels += [not own] if isinstance(own, bool) else []
    found: list[Sample] = []
    for label in [None, *labels]:
        if label == own and type(label) is type(own):
            continue
        try:
            found.append(type(sample).model_validate({**dict(sample), field: label}))
        except ValidationError:
            continue
    return found


def _three(case: Case) -> list[Encoded]:
    """Three samples, with different labels where the task has labels."""
    encoded, field = case.encoded(FIRST), case.task.manifest.label_field
    first = encoded[0]
    differing = [e for e in encoded[1:] if field and getattr(e.sample, field) != getattr(first.sample, field)]
    rest = [e for e in encoded[1:] if e not in differing]
    return [first, *differing[:1], *rest, *differing[1:]][:3]


def _check_tokens(case: Case, sample: Sample) -> None:
    """Raise unless the rows hold the markers of their regions and no special token of the tokenizer."""
    tokenizer = case.backbone.tokenizer
    special = set(tokenizer.special_tokens().values())
    rows: Serialized = case.serialize(sample)
    for row, encoded in zip(rows.rows, case.encode_one(sample).rows, strict=True):
        markers = sum(token >= tokenizer.vocabulary for token in encoded.ids)
        if markers != (4 if row.markers else 0) or special.intersection(encoded.ids):
            raise Violation(12, f"the text of {_name(sample)} becomes a marker or a special token")


def _hostile(sample: Sample) -> Sample:
    """The sample with marker texts added to all its texts but ids and kinds, or to as many as its model allows."""
    for everywhere in (True, False):
        try:
            return type(sample).model_validate(_with_markers(sample.model_dump(), everywhere, False))
        except ValidationError:
            continue
    return sample


def _with_markers(value: object, everywhere: bool, inside: bool) -> object:
    """Add `HOSTILE` to every string in a dumped model; with `everywhere` off only to those in free mappings."""
    if isinstance(value, str):
        return f"{value} {HOSTILE}" if everywhere or inside else value
    if isinstance(value, Mapping):
        return {
            key: inner
            if str(key) == "kind" or str(key) == "id" or str(key).endswith("_id")
            else _with_markers(inner, everywhere, key in ("fields", "user"))
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_with_markers(inner, everywhere, inside) for inner in value]
    return value


def _name(value: BaseModel) -> str:
    return f"sample {value.id}" if isinstance(value, Sample) else type(value).__name__
