"""Client of a bucket: requests with Huawei's SDK, retries of transient errors, error messages with the fix."""

import os
import random
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ocrnet.errors import UserError

PAUSES = (0.2, 0.5, 1, 2, 4, 8, 16)
"""Seconds between the tries of a request: half a minute in total."""

T = TypeVar("T")


class TransientError(Exception):
    """An error that a retry may fix."""


class RequestRefused(UserError):
    """An error response that a retry would not fix."""


class Client:
    """Sends requests to the bucket of a URL. Server and keys come from environment variables."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bucket, _, self.folder = url.partition("://")[2].partition("/")
        self.sdk, self._client, self.endpoint = _connect()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self.retry(lambda: self.request(method, *arguments, **options))

    def retry(self, attempt: Callable[[], T]) -> T:
        for pause in (*PAUSES, None):
            try:
                return attempt()
            except TransientError as problem:
                if pause is None:
                    raise UserError(f"{self.url} at {self.endpoint}: {problem} ({len(PAUSES) + 1} tries)") from None
            time.sleep(pause * random.uniform(0.5, 1))  # jitter
        raise AssertionError

    def request(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Send a request without retries. Raises TransientError or UserError."""
        try:
            answer = getattr(self._client, method)(self.bucket, *arguments, **options)
        except ssl.SSLCertVerificationError as error:
            fix = "For your own server, set OBS_CA_FILE to its CA certificate file."
            text = f"{self.endpoint}: certificate is not trusted: {error.verify_message}. {fix}"
            raise UserError(text) from None
        except Exception as error:
            raise _network_error(error) from None
        if answer.status < 300:
            if answer.body is None and method not in ("deleteObject", "abortMultipartUpload"):
                raise TransientError("empty response")
            return answer
        reason = f"{answer.status} {answer.errorCode or answer.reason or ''} {answer.errorMessage or ''}".strip(" .")
        if answer.status >= 500 or answer.status in (408, 429) or answer.errorCode in ("BadDigest", "RequestTimeout"):
            raise TransientError(reason)
        fixes = {
            403: "Check OBS_ACCESS_KEY_ID and OBS_SECRET_ACCESS_KEY and their permissions for this bucket.",
            404: "Check the spelling and the region of this endpoint.",
        }
        raise RequestRefused(f"{self.url}: {self.endpoint} refused: {reason}. {fixes.get(answer.status, '')}".rstrip())

    @staticmethod
    def read(response: Any) -> bytes:
        """Returns the next block of an object's content. Raises TransientError."""
        try:
            return response.read(1 << 18)
        except Exception as error:
            raise _network_error(error) from None


def _connect() -> tuple[Any, Any, str]:
    """Returns the SDK, a client for OBS_ENDPOINT with the keys from the environment, and the endpoint."""
    try:
        import certifi  # comes with requests, which the SDK needs
        import obs
    except ImportError:
        raise UserError("obs:// and s3:// need the package esdk-obs-python: pip install '.[obs]'") from None
    needed = ("OBS_ENDPOINT", "OBS_ACCESS_KEY_ID", "OBS_SECRET_ACCESS_KEY")
    if missing := [name for name in needed if not os.environ.get(name, "").strip()]:
        raise UserError(f"obs:// and s3:// need {', '.join(missing)} in the environment")
    endpoint = os.environ["OBS_ENDPOINT"]
    endpoint = endpoint if "://" in endpoint else f"https://{endpoint}"
    authorities = os.environ.get("OBS_CA_FILE") or certifi.where()
    if not Path(authorities).is_file():
        raise UserError(f"OBS_CA_FILE {authorities}: file not found")
    # OBS needs the bucket in the host name and its own signature; other servers support neither
    other = not (urlsplit(endpoint).hostname or "").startswith("obs.")
    style = {"path_style": True, "signature": "v4"} if other else {}
    keys = {"security_provider_policy": "ENV", "ssl_verify": authorities}
    client = obs.ObsClient(server=endpoint, max_retry_count=0, timeout=30, **keys, **style)  # `retry` tries again
    if client.context:
        client.context.check_hostname = True  # the SDK does not enable it
    return obs, client, endpoint


def _network_error(error: Exception) -> Exception:
    """Convert a network error to TransientError. Must not be called with an OSError of the disk."""
    network = isinstance(error, (OSError, HTTPException)) or type(error) is Exception  # the SDK raises plain ones, too
    return TransientError(str(error) or type(error).__name__) if network else error
