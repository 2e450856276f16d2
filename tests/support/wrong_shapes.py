"""What is wrong with an answer that our client does not believe, for whoever builds a hub and looks for it."""

from pydantic import ValidationError


def wrong_members(error: BaseException) -> list[str]:
    """Return each member that is wrong, by its place and what it should be, and never its value."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return []
    details = cause.errors(include_url=False, include_input=False, include_context=False)
    return [f"{cause.title}.{'.'.join(map(str, one['loc']))}: {one['msg']} ({one['type']})" for one in details]
