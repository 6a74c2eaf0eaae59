"""One class for what a person did wrong or asked for in vain; one table in `app.web.errors` shows it."""

from __future__ import annotations


class DomainError(Exception):
    """A sentence that says what happened and what to do, with the HTTP status that fits."""

    status = 400

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotFoundError(DomainError):
    """Nothing lives at this address."""

    status = 404


class ConflictError(DomainError):
    """It can't be done in the state things are in."""

    status = 409


class NotAllowedError(DomainError):
    """Somebody else's, or for another role."""

    status = 403


class SignInError(DomainError):
    """Nobody is signed in, or the token is not good."""

    status = 401


class TooManyError(DomainError):
    """Too many of something; `retry_after`: seconds after which it may go."""

    status = 429

    def __init__(self, message: str, *, field: str = "", retry_after: int = 60) -> None:
        super().__init__(message, field=field)
        self.retry_after = retry_after


class TooLargeError(DomainError):
    """More than is accepted."""

    status = 413


class InvalidError(DomainError):
    """The input can't be used. `errors` maps a field to its sentence."""

    status = 422

    def __init__(self, message: str, *, field: str = "", errors: dict[str, str] | None = None) -> None:
        super().__init__(message, field=field)
        self.errors = errors or ({field: message} if field else {})


class NoSpaceError(DomainError):
    """The disk is full."""

    status = 507
