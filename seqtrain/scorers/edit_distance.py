"""Levenshtein distance: insertions, deletions and substitutions between two sequences."""

from collections.abc import Hashable, Sequence


def edit_distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Returns the least number of changes that turn one sequence into the other.

    A column of the distance table is kept as the bits of four integers, so that each element of
    `second` costs a few additions of long integers: Myers (1999), "A fast bit-vector algorithm for
    approximate string matching", in the form of Hyyro (2003) for the distance of whole sequences.
    """
    if not first:
        return len(second)
    positions: dict[Hashable, int] = {}
    for index, element in enumerate(first):
        positions[element] = positions.get(element, 0) | 1 << index
    column = (1 << len(first)) - 1
    bottom = 1 << len(first) - 1
    distance = len(first)
    # Bits of rows that are one more (rise) or one less (fall) than the row above, in this column.
    rise, fall = column, 0
    for element in second:
        match = positions.get(element, 0)
        diagonal = (((match & rise) + rise) ^ rise) | match | fall
        # The same in relation to the column before.
        grow = fall | ~(diagonal | rise)
        shrink = rise & diagonal
        distance += bool(grow & bottom) - bool(shrink & bottom)
        # Row 0 counts the elements of second: it always grows by one.
        grow = grow << 1 | 1
        vertical = match | fall
        rise = (shrink << 1 | ~(vertical | grow)) & column
        fall = grow & vertical & column
    return distance
