"""The conformance kit: what every plugin of a kind must hold, checked on rows that the kit makes up.

In: a registered name, a class, an instance or a function. Out: a `Report` of named checks, each with what failed, the smallest
rows on which it does, and what usually causes it. Knows every plugin by its contract only.
"""
