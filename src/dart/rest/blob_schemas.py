"""What answers say of blobs; see `answer_schemas.py`."""

from typing import TypedDict

from dart.rest.answer_schemas import Amount, Answer


class BlobTold(TypedDict):
    """A blob that the server has."""

    sha256: str
    bytes: Amount


class OneBlob(Answer):
    """`PUT /blob/{sha256}/`."""

    blob: BlobTold
