"""How a command of the hub says that it did nothing."""


class NotDone(Exception):
    """What was asked for was not done; the message says why and the next step. Nothing was changed."""


class WrongCall(Exception):
    """The command was called in a way that means nothing; the message says how to call it."""
