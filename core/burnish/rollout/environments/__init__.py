"""Environments of several turns: conversations over token ids, tools that the policy calls, classes that play along.

In: a task, a way to let the policy go on, and python functions or a class. Out: an episode whose policy spans are exactly what
was sampled. May not know: losses, advantages, how completions are drawn.
"""
