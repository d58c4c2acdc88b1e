"""Twenty endpoints of all kinds, whose description generators of tests and of clients read."""

import datetime
import decimal
import enum
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import msgspec

from owt import endpoint


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float = 0.0


class Order(msgspec.Struct):
    item: str
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    note: str | None = None


class Size(TypedDict):
    width: int
    height: int


@endpoint("/number")
def number(a: int, b: int = 2) -> int:
    """Return the sum."""
    return a + b


@endpoint("/ratio", methods=["GET"])
def ratio(part: float, whole: Annotated[float, msgspec.Meta(gt=0)] = 1.0) -> float:
    return min(max(part / whole, -1e300), 1e300)


@endpoint("/flag")
def flag(value: bool) -> bool:
    return not value


@endpoint("/text")
def text(text: str, times: Annotated[int, msgspec.Meta(ge=0, le=10)] = 1) -> str:
    """Repeat the text.

    It has at most ten copies.
    """
    return text * times


@endpoint("/optional", methods=["GET"])
def optional(value: int | None = None) -> int | None:
    return value


@endpoint("/nothing", methods=["DELETE"])
def nothing() -> None:
    return None


@endpoint("/choice/{name}")
def choice(name: Literal["a", "b"]) -> Literal["a", "b"]:
    return name


@endpoint("/colour")
def colour(colour: Colour = Colour.RED) -> dict[str, str]:
    return {"colour": colour.value}


@endpoint("/numbers")
def numbers(numbers: list[int]) -> list[int]:
    return sorted(numbers)


@endpoint("/move/{name}", methods=["PUT"])
def move(name: str, to: Point, via: list[Point] | None = None) -> Point:
    return Point(to.x + len(via or ()), to.y)


@endpoint("/orders", methods=["POST"])
def orders(order: Order, urgent: bool = False) -> Order:
    return order


@endpoint("/orders/{number}", methods=["PATCH"])
def change(number: int, count: Annotated[int, msgspec.Meta(ge=1)]) -> dict[str, int]:
    return {"number": number, "count": count}


@endpoint("/area", methods=["POST"])
def area(size: Size) -> int:
    return size["width"] * size["height"]


@endpoint("/day/{day}", methods=["GET"])
def day(day: datetime.date) -> datetime.date:
    return day


@endpoint("/id", methods=["GET"])
def identity(id: uuid.UUID) -> uuid.UUID:
    return id


@endpoint("/price", methods=["POST"])
def price(net: decimal.Decimal) -> decimal.Decimal:
    return net


@endpoint("/upload", methods=["POST"])
def upload(data: bytes) -> int:
    return len(data)


@endpoint("/count", methods=["GET"])
def count(to: Annotated[int, msgspec.Meta(ge=0, le=20)] = 3) -> Iterator[int]:
    yield from range(to)


@endpoint("/words", methods=["GET"])
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


@endpoint("/anything", methods=["POST"])
def anything(value: Any = None, **others: Any) -> dict[str, Any]:
    return {"value": value, "others": sorted(others)}
