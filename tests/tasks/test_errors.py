from __future__ import annotations

import inspect
import pickle

import pytest

from tasks import errors
from tasks.errors import MoorageError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, MoorageError)]
KINDS = [kind for kind in CLASSES if "__init__" in vars(kind)]
"""Those that can be raised; the others are roots."""


def of(kind: type[MoorageError]) -> MoorageError:
    needed = [parameter for parameter in inspect.signature(kind).parameters.values() if parameter.name != "args"]
    return kind(*(f"a {parameter.name}" for parameter in needed if parameter.kind is parameter.POSITIONAL_OR_KEYWORD))


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_itself_again_after_pickling_as_celery_does(kind: type[MoorageError]) -> None:
    error = of(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), vars(again)) == (str(error), vars(error))
