"""The request of a call that has one, read by the method itself.

gRPC's own unary methods are called once the request is there: until then nobody
can ask for a token, and a call without a request stays, and costs memory, for as
long as its connection. So ours are streams to gRPC; on the wire there is no difference.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

T = TypeVar("T")

REQUEST_SECONDS = 30.0  # until the request is there


async def only(requests: AsyncIterator[T], context: grpc.aio.ServicerContext[Any, Any]) -> T:
    """The request of a call; one that does not come, or cannot be read, ends the call."""
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await anext(aiter(requests))
    except (TimeoutError, StopAsyncIteration):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no request came")
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be read")
