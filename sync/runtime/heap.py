"""The search for objects that hold each other, set for programs that run for weeks and read rows by the million.

As Python comes, it is made after every 700 new objects, and through all that is alive whenever a quarter is new: while
a snapshot was loaded, a third of the till's time went into it (measured). Objects that nobody holds leave without it.
"""

import gc

# A chunk of customers that is being read is some 12,000 objects at a time.
_NEW_OBJECTS = 50_000
_YOUNG_SEARCHES, _OLD_SEARCHES = 20, 20


def search_seldom() -> None:
    """Search after many new objects only, and never again among those of now; for when all of a program is imported."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_SEARCHES, _OLD_SEARCHES)
