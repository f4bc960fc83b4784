"""Whether a request may come in."""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any, Final

import jwt

from stream_tasks.testing._answers import Answer, error_answer
from stream_tasks.testing._log import Request

__all__ = ["Credentials"]

_LEEWAY: Final = 1.0  # seconds that two clocks may differ
_REMEMBERED: Final = 1000  # tokens; a client sends the same one with every request

_UNSUITABLE_KEY: Final = 2
_UNAUTHENTICATED: Final = 5
_EXPIRED: Final = 40
_NOT_YET: Final = 41
_ISSUED_LATER: Final = 42
_BAD_SIGNATURE: Final = 43


class Credentials:
    """An app's key and secret, and the checks that Stream makes with them.

    Args:
        key: The api key that requests must name.
        secret: The secret that their tokens must be signed with.
    """

    def __init__(self, key: str, secret: str) -> None:
        self._key = key
        self._secret = secret.encode()
        self._verified: dict[str, Mapping[str, Any]] = {}

    def refusal(self, request: Request, now: float) -> Answer | None:
        """Return the 401 that this request deserves at this Unix time, or None when it may pass."""
        if request.query.get("api_key") != self._key:
            return error_answer(401, "api_key is missing or not known", code=_UNSUITABLE_KEY)
        if request.headers.get("stream-auth-type") != "jwt":
            return error_answer(401, 'the stream-auth-type header must be "jwt"', code=_UNAUTHENTICATED)
        token = request.headers.get("Authorization")
        if not token:
            return error_answer(401, "the Authorization header is missing", code=_UNAUTHENTICATED)
        claims = self._verified.get(token)
        if claims is None:
            try:
                claims = self._verify(token)
            except jwt.InvalidSignatureError:
                return error_answer(401, "the token's signature does not fit", code=_BAD_SIGNATURE)
            except (jwt.InvalidTokenError, UnicodeError):
                return error_answer(401, "the token cannot be read", code=_UNAUTHENTICATED)
        return _untimely(claims, now)

    def _verify(self, token: str) -> Mapping[str, Any]:
        # PyJWT warns about short secrets wherever it checks a signature. The caller chose the secret.
        parts = jwt.decode_complete(token, options={"verify_signature": False})
        if parts["header"].get("alg") != "HS256":
            raise jwt.InvalidAlgorithmError
        signed = token.rpartition(".")[0].encode()
        if not hmac.compare_digest(
            hmac.new(self._secret, signed, hashlib.sha256).digest(), parts["signature"]
        ):
            raise jwt.InvalidSignatureError
        claims: dict[str, Any] = parts["payload"]
        if not all(isinstance(claims.get(name, 0), int | float) for name in ("exp", "nbf", "iat")):
            raise jwt.InvalidTokenError
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[token] = claims
        return claims


def _untimely(claims: Mapping[str, Any], now: float) -> Answer | None:
    if claims.get("exp", now) < now - _LEEWAY:
        return error_answer(401, "the token has expired", code=_EXPIRED)
    now = max(now, time.time())  # a clock that stands still must not make new tokens future ones
    if claims.get("nbf", now) > now + _LEEWAY:
        return error_answer(401, "the token is not valid yet", code=_NOT_YET)
    if claims.get("iat", now) > now + _LEEWAY:
        return error_answer(401, "the token was issued in the future", code=_ISSUED_LATER)
    return None
