"""The JSON of requests and responses, and the errors that a client gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from crnn_jax.errors import DataError, brief
from crnn_jax.inference import evaluate
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.explain import Explanation

JSON = "application/json"
_MOST_MESSAGE = 500  # characters


class RequestError(Exception):
    """A request that is answered with an error. The message is for the client."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = dict(headers or {})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ReadOptions(BaseModel):
    """The query of a request to read images."""

    model_config = ConfigDict(extra="forbid")
    explain: bool = Field(
        False, description="Add the characters of each text and alternative texts; takes longer."
    )


class ReadRequest(_Strict):
    """Images in JSON."""

    images: list[str] = Field(
        description="Image files, each in base64 or as a data URI.", min_length=1
    )


class Character(_Strict):
    """A character of a text. Positions are fractions of the image's width."""

    symbol: str
    probability: float = Field(description="probability of this symbol, given the other characters")
    left: float
    right: float


class Alternative(_Strict):
    """One of the most probable texts of an image."""

    text: str
    confidence: float


class ReadingResult(_Strict):
    """The reading of an image."""

    text: str = Field(description="empty if nothing was read, or if the server leaves it blank")
    confidence: float = Field(description="the reader's probability of the text, from 0 to 1")
    typicality: float | None = Field(
        description="how much the image is like the images of the reader's validation part, in "
        "standard deviations from their mean; null if this is not known"
    )
    answered: bool = Field(
        description="false if nothing was read, if the image is of another kind than the training "
        "images, or if the confidence is below the server's limit"
    )


class ExplainedResult(ReadingResult):
    """The reading of an image, with its characters and alternatives."""

    characters: list[Character] = Field(description="empty if the text is left blank")
    alternatives: list[Alternative] = Field(description="empty if the text is left blank")


class Problem(_Strict):
    """The code and the message of an error."""

    code: str
    message: str


class ErrorResult(_Strict):
    """An error: the whole response, or the result of an image that cannot be read."""

    error: Problem


class ReadResponse(_Strict):
    """The results of the images, in their order."""

    results: list[ExplainedResult | ReadingResult | ErrorResult]


class InputSize(_Strict):
    """The pixels that the model reads. Images of any size are resized."""

    width: int | None = Field(description="null if it is chosen for each image")
    height: int
    channels: int


class ReaderResponse(_Strict):
    """The reader of this server."""

    version: str = Field(description="version of crnn-jax")
    symbols: list[str]
    lengths: tuple[int, int] | None = Field(
        description="least and greatest number of characters of a text; null if there is no limit"
    )
    input: InputSize
    epoch: int
    fingerprint: str = Field(description="fingerprint of the data that the reader was trained on")
    params_sha256: str


class Status(_Strict):
    """The status of the server."""

    status: str


def to_result(
    found: Reading | Explanation | DataError, min_confidence: float | None
) -> ReadingResult | ErrorResult:
    """Converts a reading, an explanation or the error of an image to its result.

    With `min_confidence`, the text is left blank unless its confidence is at least that and the
    image is like the training images, as in the command predict.
    """
    if isinstance(found, DataError):
        return ErrorResult(
            error=Problem(code="unreadable_image", message=brief(found, _MOST_MESSAGE))
        )
    answered, is_shown = evaluate.apply_min_confidence(found, min_confidence)
    values: dict[str, Any] = {
        "text": found.text if is_shown else "",
        "confidence": found.confidence,
        "typicality": found.typicality,
        "answered": answered,
    }
    if not isinstance(found, Explanation):
        return ReadingResult(**values)
    characters = [Character(**part._asdict()) for part in found.characters]
    alternatives = [
        Alternative(text=part.text, confidence=part.confidence) for part in found.alternatives
    ]
    return ExplainedResult(
        **values,
        characters=characters if is_shown else [],
        alternatives=alternatives if is_shown else [],
    )


def to_json(value: BaseModel, status: int = 200, headers: Mapping[str, str] = {}) -> Response:
    """Returns the response with a value as JSON."""
    return Response(value.model_dump_json(), status, dict(headers), JSON)


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] = {}
) -> Response:
    """Returns a response that says what was wrong."""
    result = ErrorResult(error=Problem(code=code, message=brief(message, _MOST_MESSAGE)))
    return to_json(result, status, headers)
