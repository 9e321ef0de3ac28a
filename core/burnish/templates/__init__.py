"""Packages that plugins begin as. In: a kind and a name. Out: a folder with a working example, its page and its tests.

`files/KIND/` holds what differs between kinds, `files/shared/` what does not; both are `string.Template` texts. Knows the
registry, for names that are taken, and no tensor.
"""
