"""Rows of the tables to records, and back. Nothing here does I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from crossover.rest_gateway.predictions.record import Job, Label, Outcome, Prediction, State, Task, TopClass

if TYPE_CHECKING:
    from sqlalchemy import RowMapping


def prediction_of(row: RowMapping) -> Prediction:
    state = State(row["state"])
    return Prediction(
        id=row["id"],
        task=task_of(row),
        state=state,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
        label=loaded(row["label"]),
        note=row["note"],
        outcome=_outcome_of(row) if state in (State.SUCCEEDED, State.FAILED) else None,
    )


def task_of(row: RowMapping) -> Task:
    return Task(row["model"], row["inputs"] or "", row["upstream"], row["requested_version"], row["parameters"])


def queued_task_of(row: RowMapping) -> Task:
    """The task with what only workers need of it."""
    return replace(task_of(row), trace=row["trace"] or "")


def job_of(row: RowMapping) -> Job:
    return Job(row["id"], queued_task_of(row), row["claims"], row["crashes"], row["queued_at"])


def task_columns(task: Task) -> dict[str, Any]:
    return {
        "model": task.model,
        "inputs": task.inputs,
        "upstream": task.upstream,
        "requested_version": task.version,
        "parameters": task.parameters,
        "trace": task.trace or None,
    }


def note_columns(label: Label, note: str | None) -> dict[str, Any]:
    return {
        "label": _dumped(label),
        "label_text": None if label is None else str(label),
        "note": note,
    }


def outcome_columns(outcome: Outcome | None) -> dict[str, Any]:
    """The columns of an outcome; without one, all of them empty."""
    outcome = outcome or Outcome()
    answer = outcome.answer
    return {
        "version": outcome.version or None,
        "outputs": outcome.outputs,
        "error": outcome.error,
        "answer_index": answer and answer.index,
        "answer_label": answer and answer.label,
        "answer_score": answer and repr(answer.score),
        "timings": _dumped(outcome.timings),
        "message_bytes": _dumped(outcome.message_bytes),
    }


def state_after(outcome: Outcome | None) -> State:
    if outcome is None:
        return State.QUEUED
    return State.FAILED if outcome.error is not None else State.SUCCEEDED


def _dumped(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def loaded(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _outcome_of(row: RowMapping) -> Outcome:
    answer = None
    if row["answer_label"] is not None:
        answer = TopClass(row["answer_index"], row["answer_label"], float(row["answer_score"]))
    timings, message_bytes = loaded(row["timings"]), loaded(row["message_bytes"])
    return Outcome(row["version"] or "", row["outputs"], row["error"], answer, timings, message_bytes)
