"""Times as Alipay writes them, in China's, and amounts in yuan."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

CHINA = timezone(timedelta(hours=8))
FORM = "%Y-%m-%d %H:%M:%S"


def now_text() -> str:
    return datetime.now(UTC).astimezone(CHINA).strftime(FORM)


def today() -> date:
    return datetime.now(CHINA).date()


def seconds(text: str) -> float:
    """Raises ValueError."""
    return datetime.strptime(text, FORM).replace(tzinfo=CHINA).timestamp()


def is_time(text: str) -> bool:
    """Of whichever zone: the vendor's own code writes that of its machine."""
    try:
        datetime.strptime(text, FORM)  # noqa: DTZ007
    except ValueError:
        return False
    return True


def yuan(amount: int) -> str:
    return f"{Decimal(amount) / 100:.2f}"


def fen(text: str) -> int:
    return int(Decimal(text) * 100)
