"""Search spaces that ship with eicompress: slots in order, strategies, and the ranges of their knobs."""
