"""Multibase text to bytes and back, for the bases that CIDs are written in.

Source: https://github.com/multiformats/multibase. Decoding is strict: text that encoding would not give is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

NAMES = {
    "b": "base32",
    "B": "base32upper",
    "z": "base58btc",
    "k": "base36",
    "K": "base36upper",
    "f": "base16",
    "F": "base16upper",
    "u": "base64url",
}
"""Prefixes that are understood, and what they are called."""


class MalformedText(ValueError):
    """Text that does not belong to its base."""


def decode(text: str) -> bytes:
    """The bytes of multibase `text`, prefix included. Raises MalformedText."""
    prefix = text[:1]
    if prefix not in NAMES:
        raise MalformedText(f"it starts with {prefix!r}, which is none of the bases {', '.join(NAMES)} or Qm")
    try:
        data = _DECODERS[prefix](text[1:])
    except (ValueError, KeyError):
        raise MalformedText(f"it has characters that {NAMES[prefix]} does not use") from None
    if encode(prefix, data) != text:
        raise MalformedText(f"it is not in the only form that {NAMES[prefix]} allows")
    return data


def encode(prefix: str, data: bytes) -> str:
    """`data` in the base that `prefix` names, prefix included."""
    return prefix + _ENCODERS[prefix](data)


def decode_base58btc(text: str) -> bytes:
    """Base58 with Bitcoin's alphabet, no prefix. Raises MalformedText."""
    try:
        return _from_digits(text, _BASE58)
    except KeyError:
        raise MalformedText("it has characters that base58btc does not use") from None


def encode_base58btc(data: bytes) -> str:
    """Base58 with Bitcoin's alphabet, no prefix."""
    return _to_digits(data, _BASE58)


def encode_base32(data: bytes) -> str:
    """Base32, lower case, unpadded, no prefix."""
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


_VALUES = {
    alphabet: {digit: value for value, digit in enumerate(alphabet)} for alphabet in (_BASE58, _BASE36, _BASE36.upper())
}


def _from_digits(text: str, alphabet: str) -> bytes:
    values, number, radix = _VALUES[alphabet], 0, len(alphabet)
    for digit in text:
        number = number * radix + values[digit]
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _to_digits(data: bytes, alphabet: str) -> str:
    number, radix, digits = int.from_bytes(data, "big"), len(alphabet), []
    while number:
        number, value = divmod(number, radix)
        digits.append(alphabet[value])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return alphabet[0] * zeros + "".join(reversed(digits))


def _from_base32(text: str) -> bytes:
    # `int` reads base 32 ten times faster than the base64 module does, with digits of its own.
    bits = 5 * len(text)
    number = int(text.translate(_BASE32_AS_INT), 32) if text else 0
    return (number >> bits % 8).to_bytes(bits // 8, "big")


_BASE32_AS_INT = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdefghijklmnop" * 2 + "qrstuv", "01+-_ "
)
_DECODERS: dict[str, Callable[[str], bytes]] = {
    # Leniency about case, spare bits and characters passed over ends where `decode` encodes again and compares.
    "b": _from_base32,
    "B": _from_base32,
    "z": lambda text: _from_digits(text, _BASE58),
    "k": lambda text: _from_digits(text, _BASE36),
    "K": lambda text: _from_digits(text, _BASE36.upper()),
    "f": bytes.fromhex,
    "F": bytes.fromhex,
    "u": lambda text: base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True),
}
_ENCODERS: dict[str, Callable[[bytes], str]] = {
    "b": encode_base32,
    "B": lambda data: encode_base32(data).upper(),
    "z": encode_base58btc,
    "k": lambda data: _to_digits(data, _BASE36),
    "K": lambda data: _to_digits(data, _BASE36.upper()),
    "f": lambda data: data.hex(),
    "F": lambda data: data.hex().upper(),
    "u": lambda data: base64.urlsafe_b64encode(data).decode("ascii").rstrip("="),
}
