"""What a served model is asked, and what it says: limits, checks, plain values."""

import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from seqtrain.errors import DataError, SeqtrainError
from seqtrain.generation.base import GenerationConfig
from seqtrain.pipeline import Pipeline
from seqtrain.report.forecast_view import forecast_pictures
from seqtrain.serve.input_form import InputForm, input_form
from seqtrain.serve.unknown_share import unknown_percent

MAX_DEPTH = 5
KEYS = {"inputs", "beam", "nbest", "lenpen", "pictures"}
MAX_BEAM = 20
WAIT_SECONDS = 20.0
"""Longest time that a request waits for those before it."""


class BadRequestError(ValueError):
    """A request that cannot be answered; the message is for the one who asks."""


class BusyError(Exception):
    """Too much is asked at once."""


@dataclass(frozen=True)
class Limits:
    """How much may be asked at once."""

    max_inputs: int = 32
    max_characters: int = 4_000
    """Of a text."""
    max_values: int = 200_000
    """Numbers in all inputs together."""


class Answerer:
    """Answers requests with a model, one after the other.

    Args:
        pipeline: The model.
        limits: How much may be asked.
    """

    def __init__(self, pipeline: Pipeline, limits: Limits) -> None:
        self.pipeline = pipeline
        self.limits = limits
        self.form: InputForm = input_form(pipeline.task)
        self._turn = threading.Lock()

    def about(self) -> dict[str, Any]:
        """Returns what a page needs to know to ask."""
        config = self.pipeline.config
        return {
            "task": config.task.name,
            "model": config.model.name,
            "checkpoint": self.pipeline.path.name,
            "run": self.pipeline.path.parent.parent.name,
            "generates": not self.pipeline.task.predicts,
            "reads": self.form.kind,
            "hint": self.form.hint,
            "example": self.form.example,
            "beam": config.generation.beam,
            "max_inputs": self.limits.max_inputs,
            "max_characters": self.limits.max_characters,
        }

    def answer(self, body: bytes) -> dict[str, Any]:
        """Returns {"outputs": [...], "seconds": ...} for a request as JSON.

        Each output has `hypotheses`, or what the task predicts, or `error`.

        Raises:
            BadRequestError: It is not understood, or asks for too much.
            BusyError: Others are still being answered.
        """
        request = self._read(body)
        if not self._turn.acquire(timeout=WAIT_SECONDS):
            raise BusyError("others are being answered; ask again later")
        try:
            began = time.monotonic()
            outputs = self._outputs(request)
        finally:
            self._turn.release()
        return {"outputs": outputs, "seconds": round(time.monotonic() - began, 3)}

    def _read(self, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            raise BadRequestError("the body is not JSON") from None
        if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
            raise BadRequestError('send an object with a list: {"inputs": [...]}')
        if unknown := sorted(set(request) - KEYS):
            known = ", ".join(sorted(KEYS))
            raise BadRequestError(f"{unknown[0][:50]!r} is not known; there are {known}")
        inputs = request["inputs"]
        if not 1 <= len(inputs) <= self.limits.max_inputs:
            raise BadRequestError(f"send 1 to {self.limits.max_inputs} inputs, not {len(inputs)}")
        for value in inputs:
            self._check_text(value)
            if not self.pipeline.task.predicts and not isinstance(value, str):
                raise BadRequestError("each input must be a text")
        if _count(inputs, MAX_DEPTH) > self.limits.max_values:
            raise BadRequestError(f"send at most {self.limits.max_values} values")
        return request

    def _check_text(self, value: Any) -> None:
        texts = value.values() if isinstance(value, Mapping) else [value]
        for text in texts:
            if isinstance(text, str) and len(text) > self.limits.max_characters:
                raise BadRequestError(
                    f"a text has more than {self.limits.max_characters} characters"
                )

    def _outputs(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self.pipeline.task.predicts:
            return [self._prediction(value, request) for value in request["inputs"]]
        texts = request["inputs"]
        found = list(self.pipeline.answers(texts, self._generation(request)))
        unknown = self._unknown({i: texts[i] for i, answer in enumerate(found) if not answer.error})
        return [
            {"error": answer.error} if answer.error else {
                "hypotheses": [
                    {"text": text.text, "score": text.score}
                    for text in map(self.pipeline.text_of, answer.hypotheses)
                ],
                "unknown_percent": unknown.get(index),
            }
            for index, answer in enumerate(found)
        ]  # fmt: skip

    def _unknown(self, texts: Mapping[int, str]) -> dict[int, float]:
        """Returns the share of unknown symbols in each text, in percent, by its number."""
        if not texts:
            return {}
        shares = unknown_percent(self.pipeline.task.inference_dataset(list(texts.values())))
        return dict(zip(texts, shares or [], strict=False))

    def _generation(self, request: Mapping[str, Any]) -> GenerationConfig:
        options: dict[str, Any] = {}
        for name, high in (("beam", MAX_BEAM), ("nbest", MAX_BEAM)):
            if name in request:
                options[name] = _whole(request[name], name, high)
        if "lenpen" in request:
            value = request["lenpen"]
            if type(value) not in (int, float) or not 0.0 <= value <= 10.0:
                raise BadRequestError("lenpen must be a number from 0 to 10")
            options["lenpen"] = float(value)
        try:
            return replace(self.pipeline.config.generation, **options)
        except SeqtrainError as error:
            raise BadRequestError(str(error)) from error

    def _prediction(self, value: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            (found,) = self.pipeline.predict([value])
        except DataError as error:
            return {"error": str(error).removeprefix("of the inputs from number 0 on, ")}
        if unknown := unknown_percent(self.pipeline.task.prediction_dataset([value])):
            found = found | {"unknown_percent": unknown[0]}
        if request.get("pictures") is True and "forecast" in found:
            return found | {"pictures": forecast_pictures(found)}
        return found


def _whole(value: Any, name: str, high: int) -> int:
    if type(value) is not int or not 1 <= value <= high:
        raise BadRequestError(f"{name} must be a whole number from 1 to {high}")
    return value


def _count(value: Any, depth: int) -> int:
    """Returns the number of values within lists and mappings.

    Raises:
        BadRequestError: They lie deeper than anything that a task reads, or one is not finite.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRequestError("numbers must be finite; use null for one that is missing")
    if not isinstance(value, list | Mapping):
        return 1
    if depth == 0:
        raise BadRequestError("the inputs are nested too deeply")
    parts = value.values() if isinstance(value, Mapping) else value
    return sum(_count(part, depth - 1) for part in parts)
